// Package jsonform writes the results of package dm as the JSON that is promised
// for them, and reads it again.
//
// The types in package dm stay what is handy in Go; their MarshalJSON and
// UnmarshalJSON (dm/json.go) only call [Marshal] and [Unmarshal], which go by the
// tags of the fields:
//
//	ID     string        `json:"id"`                  null if it is ""
//	Size   uint64        `json:"size_bytes"`          null if it is 0
//	Dev    targets.DevNo `json:"devno"`               "254:3"
//	Window time.Duration `json:"window_us" unit:"us"` a number; `unit:"s"` for seconds
//	Hooks  []Hook        `json:"hooks"`               [], never null
//	Why    []string      `json:"why,omitempty"`       absent if there are none
//
// Times are in UTC. A field without a json tag is left out. A pointer is null or what
// it points to, so that a number behind one may be 0.
package jsonform
