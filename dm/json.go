package dm

import "github.com/dmsnap/dmsnap/dm/internal/jsonform"

// The JSON of a result is the same from a program as from the command line, whose
// schemas are in docs/schema: what is not known is null, never "" or 0, a list is
// never null, a time is UTC. What the command prints is read back as it was.

// MarshalJSON: see docs/schema.
func (x Set) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Volume) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Beside) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Store) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Receipt) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Medium) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Doubt) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x CopiedReceipt) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x StoreReceipt) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x VolumeReceipt) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x HookReceipt) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x StepReceipt) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Mounted) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Attachment) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x EndedVolume) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Explanation) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Finding) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x FSReport) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Graph) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x GraphNode) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Holder) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x LeaseState) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Left) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Load) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Event) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Step) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x OriginReport) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Plan) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x PlanStep) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Problem) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Recovered) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Report) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x TargetReport) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Thawed) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Unpinned) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Execution) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Pruned) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// MarshalJSON: see docs/schema.
func (x Failure) MarshalJSON() ([]byte, error) { return jsonform.Marshal(x) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (x *Volume) UnmarshalJSON(b []byte) error { return jsonform.Unmarshal(b, x) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (x *Attachment) UnmarshalJSON(b []byte) error { return jsonform.Unmarshal(b, x) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (x *OriginReport) UnmarshalJSON(b []byte) error { return jsonform.Unmarshal(b, x) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (x *GraphNode) UnmarshalJSON(b []byte) error { return jsonform.Unmarshal(b, x) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (x *Store) UnmarshalJSON(b []byte) error { return jsonform.Unmarshal(b, x) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (x *Receipt) UnmarshalJSON(b []byte) error { return jsonform.Unmarshal(b, x) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (x *Medium) UnmarshalJSON(b []byte) error { return jsonform.Unmarshal(b, x) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (x *VolumeReceipt) UnmarshalJSON(b []byte) error { return jsonform.Unmarshal(b, x) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (x *HookReceipt) UnmarshalJSON(b []byte) error { return jsonform.Unmarshal(b, x) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (x *StepReceipt) UnmarshalJSON(b []byte) error { return jsonform.Unmarshal(b, x) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (x *Load) UnmarshalJSON(b []byte) error { return jsonform.Unmarshal(b, x) }
