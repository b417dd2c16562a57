package dm

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// results are what methods of a Manager return, and tell.
var results = []any{
	Set{}, Mounted{}, Attachment{}, Plan{}, Report{}, Recovered{}, Thawed{}, Unpinned{}, Explanation{}, Graph{}, Event{}, Failure{},
}

// TestResultsHaveOneJSON: every struct in a result has the promised JSON, alone and
// inside of others; what is not known in it is null, and no list is.
func TestResultsHaveOneJSON(t *testing.T) {
	for typ := range resultTypes() {
		empty := reflect.Zero(typ).Interface()
		b, err := json.Marshal(empty)
		check(t, err)
		if _, ok := empty.(json.Marshaler); !ok || strings.Contains(string(b), `""`) {
			t.Errorf("%v: %s", typ, b)
		}
	}
	for want, v := range map[string]any{
		`"lease":null`: Set{}, `"reads_through":null`: Volume{}, `"spill":[]`: Volume{}, `"why":null`: &Store{}, `"labels":{}`: []Set{{}},
		`"window_us":4180`: Receipt{Window: 4180*time.Microsecond + 999}, `"thawed_us":null`: VolumeReceipt{},
		`"devno":"254:3"`: Volume{Devno: DevNo{Major: 254, Minor: 3}}, `"origin_devno":null`: Volume{}, `"lower":["7:0"]`: GraphNode{Lower: []DevNo{{Major: 7}}},
		`"full_in_seconds":243`: Store{FullIn: new(243 * time.Second)}, `"io_timeout":0.5`: Medium{IOTimeout: new(time.Second / 2)},
		`"fill_bytes_per_second":0`: Store{FillRate: new(Rate)}, `"start":"2026-01-01T00:00:00Z"`: Receipt{Start: time.Date(2026, 1, 1, 1, 0, 0, 0, time.FixedZone("", 3600))},
	} {
		if b, err := json.Marshal(v); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s, %v", want, b, err)
		}
	}
}

// TestResultsAreReadBack: a program reads what the command printed, and a record.
func TestResultsAreReadBack(t *testing.T) {
	for typ := range resultTypes() {
		full, got := reflect.New(typ), reflect.New(typ)
		setAll(full.Elem())
		b, err := json.Marshal(full.Interface())
		check(t, err)
		check(t, json.Unmarshal(b, got.Interface()))
		if diff := cmp.Diff(full.Interface(), got.Interface(), cmpopts.IgnoreUnexported(Volume{})); diff != "" {
			t.Errorf("%v: %s\n%s", typ, diff, b)
		}
	}
	for _, bad := range []string{`[]`, `{"window_us":"4"}`, `{"window_us":1e300}`, `{"frozen":7}`} {
		if json.Unmarshal([]byte(bad), new(Receipt)) == nil {
			t.Errorf("%s is read", bad)
		}
	}
	if json.Unmarshal([]byte(`{"lower":["sda"]}`), new(GraphNode)) == nil {
		t.Error("a name is read as a number")
	}
	check(t, json.Unmarshal([]byte(`{"window_us":null,"later":1}`), new(Receipt)))
}

// resultTypes are the structs of this package that results are made of.
func resultTypes() map[reflect.Type]bool {
	found := map[reflect.Type]bool{}
	var visit func(reflect.Type)
	visit = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice:
			visit(t.Elem())
		case reflect.Struct:
			if t.PkgPath() == reflect.TypeFor[Set]().PkgPath() && !found[t] {
				found[t] = true
				for f := range t.Fields() {
					visit(f.Type)
				}
			}
		}
	}
	for _, r := range results {
		visit(reflect.TypeOf(r))
	}
	return found
}

// setAll gives every exported field a value.
func setAll(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("<x>")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(7 * time.Second))
	case reflect.Uint64, reflect.Uint32:
		v.SetUint(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setAll(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		setAll(v.Index(0))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"a": ""}))
	case reflect.Struct:
		switch v.Type() {
		case reflect.TypeFor[time.Time]():
			v.Set(reflect.ValueOf(time.Unix(7, 0).UTC()))
			return
		case reflect.TypeFor[ioctl.ID]():
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				setAll(v.Field(i))
			}
		}
	}
}
