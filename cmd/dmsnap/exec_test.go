package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/dm"
	"github.com/dmsnap/dmsnap/docs/schema"
)

// What stands after "--" is the command's, flags and a second "--" included.
func TestExecArguments(t *testing.T) {
	m := &stub{}
	o := do(t, m, "exec", "/", "--only", "/home", "--rw", "/srv/repo", "--", "restic", "--json", "--", "-x", "--rw")
	if want := []string{"restic", "--json", "--", "-x", "--rw"}; o.exit != 0 || !slices.Equal(m.exec.Command, want) {
		t.Errorf("%q, want %q\n%s", m.exec.Command, want, o)
	}
	if !slices.Equal(m.exec.Create.Origins, []string{"/", "/home"}) || !m.exec.Only || !slices.Equal(m.exec.Writable, []string{"/srv/repo"}) {
		t.Errorf("%+v", m.exec)
	}
	if o.stdout != "" {
		t.Errorf("standard output is the command's: %s", o)
	}
}

// The status is the command's unless its result is not good for a reason of ours,
// and the file says which.
func TestExecStatus(t *testing.T) {
	ours := &dm.Error{Op: "exec", Code: dm.CodeNoSpace, Err: errors.New("an image was lost")}
	for name, c := range map[string]struct {
		x    dm.Execution
		err  error
		want int
	}{
		"good":           {dm.Execution{Ran: true, Good: true, Set: nightly()}, nil, 0},
		"its own":        {dm.Execution{Ran: true, Status: 3}, nil, 3},
		"lost":           {dm.Execution{Ran: true, Lost: "full"}, ours, 124},
		"lost, and 3":    {dm.Execution{Ran: true, Status: 3, Lost: "full"}, ours, 124},
		"not made":       {dm.Execution{Status: 125}, ours, 125},
		"not found":      {dm.Execution{Status: 127}, ours, 127},
		"not executable": {dm.Execution{Status: 126}, ours, 126},
		"not removed":    {dm.Execution{Ran: true, Kept: true}, ours, 125},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "verdict")
			o := do(t, &stub{execution: &c.x, err: c.err}, "exec", "/home", "--json-file", file, "--", "true")
			if o.exit != c.want || (c.err != nil) != (o.stderr != "") {
				t.Errorf("want %d\n%s", c.want, o)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Check(text); err != nil {
				t.Errorf("%v\n%s", err, text)
			}
			if has := strings.Contains(string(text), `"error":null`); has != (c.err == nil) {
				t.Errorf("%s", text)
			}
		})
	}
}
