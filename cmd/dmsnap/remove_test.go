package main

import (
	"errors"
	"testing"

	"github.com/dmsnap/dmsnap/dm"
	"github.com/google/go-cmp/cmp"
)

func TestRemove(t *testing.T) {
	code := func(c dm.Code) error { return &dm.Error{Op: "remove", Code: c, Err: errors.New("failed")} }
	tests := map[string]struct {
		fail  map[string]error
		calls []string
		exit  int
	}{
		"all":             {nil, []string{"show a", "show b", "show c", "remove a", "remove b", "remove c"}, 0},
		"one is missing":  {map[string]error{"show b": code(dm.CodeNotFound)}, []string{"show a", "show b"}, 4},
		"first fails":     {map[string]error{"remove a": code(dm.CodeBusy)}, []string{"show a", "show b", "show c", "remove a"}, 5},
		"second fails":    {map[string]error{"remove b": code(dm.CodeBusy)}, []string{"show a", "show b", "show c", "remove a", "remove b"}, 10},
		"unclassified":    {map[string]error{"remove b": errors.New("x")}, []string{"show a", "show b", "show c", "remove a", "remove b"}, 10},
		"recovery needed": {map[string]error{"remove b": code(dm.CodeUnrecovered)}, []string{"show a", "show b", "show c", "remove a", "remove b"}, 11},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := &stub{fail: tt.fail}
			o := do(t, m, "remove", "a", "b", "c")
			if diff := cmp.Diff(tt.calls, m.calls); diff != "" || o.exit != tt.exit {
				t.Errorf("%s%s", diff, o)
			}
		})
	}
}

// What is left to do does not name what is gone already.
func TestRemovePartlyHint(t *testing.T) {
	err := &dm.Error{Op: "remove", Set: "b", Code: dm.CodePartial, Err: errors.New("failed"), Hint: "run the same command again"}
	o := do(t, &stub{fail: map[string]error{"remove b": err}}, "remove", "a", "b", "c")
	want := "dmsnap: remove b: failed (removed before: a)\nhint: run dmsnap remove b c\n"
	if o.exit != 10 || o.stderr != want {
		t.Errorf("%s\nwant %s", o, want)
	}
}
