package dm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/e2e/leak"
	"github.com/dmsnap/dmsnap/targets"
)

// TestRulesDecide shows on a real kernel that the order and the arguments of a
// plan decide between a snapshot and silent damage: the plan as it is keeps
// every block, and each broken plan loses some without any error.
func TestRulesDecide(t *testing.T) {
	if os.Getenv("DMSNAP_E2E") == "" {
		t.Skip("needs a guest: run by e2e")
	}
	leak.Check(t)
	for name, c := range map[string]struct {
		spoil   func(p *plan.Plan)
		damaged bool
	}{
		"as planned":                                {func(*plan.Plan) {}, false},
		"rule A: the front as the origin":           {frontAsOrigin, true},
		"rule B: image cut beneath a running front": {imageBeneathRunning, true},
	} {
		t.Run(name, func(t *testing.T) {
			blocks := drift(t, c.spoil)
			t.Logf("%d of %d blocks changed in the image", blocks, driftBytes/4096)
			if damaged := blocks > 0; damaged != c.damaged {
				t.Errorf("damaged: %v, want %v", damaged, c.damaged)
			}
		})
	}
}

// frontAsOrigin is the recipe once published for the interposer: the image
// names the snapshot-origin device instead of what lies beneath it.
func frontAsOrigin(p *plan.Plan) {
	for i, s := range p.Steps {
		if s.Role == plan.RoleImage && len(s.Table) == 1 {
			snap := s.Table[0].Target.(targets.Snapshot)
			snap.Origin = targets.Device{Path: "/dev/mapper/" + p.Volumes[0].Front}
			p.Steps[i].Table = targets.Table{{Length: s.Table[0].Length, Target: snap}}
		}
	}
}

// imageBeneathRunning loads and resumes the image when the front runs already,
// and does not suspend the front again.
func imageBeneathRunning(p *plan.Plan) {
	var late []plan.Step
	p.Steps = slices.DeleteFunc(p.Steps, func(s plan.Step) bool {
		cut := s.Role == plan.RoleImage && (s.Action == plan.LoadTable || s.Action == plan.Resume)
		if cut {
			s.Phase = plan.Finish
			late = append(late, s)
		}
		return cut
	})
	p.Steps = append(p.Steps, late...)
}

const driftBytes = 8 << 20

// drift cuts an unmounted origin with a plan, overwrites the origin with large
// direct writes and counts the 4 KiB blocks of the image that changed.
func drift(t *testing.T, spoil func(*plan.Plan)) int {
	t.Helper()
	disks := strings.Split(os.Getenv("DMSNAP_DISKS"), ",")
	output(t, "dmsetup", "create", "drift", "--table", fmt.Sprintf("0 %d linear %s 0", driftBytes/512, disks[0]))
	t.Cleanup(func() { output(t, "dmsetup", "remove", "--retry", "drift") })
	output(t, "wipefs", "-aq", disks[1])
	pattern(t, "a")
	m := New(Options{StateDir: t.TempDir(), NoGuard: true})
	s, err := m.open("create", "rule")
	check(t, err)
	defer s.close()
	check(t, m.state.Init())
	// Small chunks against large writes: the case the rules are about.
	f, err := s.origins.gather(CreateRequest{
		Name: "rule", Origins: []string{"/dev/mapper/drift"}, Stores: map[string]string{"": disks[1]}, ChunkBytes: 4096,
	}, newID())
	check(t, err)
	p, err := plan.Create(f.request)
	check(t, err)
	spoil(p)
	p.Steps = slices.DeleteFunc(p.Steps, func(s plan.Step) bool { return s.Action == plan.Verify })
	d := done{plan: p, runner: s.runner(f, CreateRequest{})}
	d.intent, err = s.intents().begin(d.plan, d.runner, false) // by which the base is found again when no image stands on it
	check(t, err)
	_, err = d.runner.Run(context.Background(), p)
	check(t, err)
	defer func() { check(t, m.state.End(d.intent)) }()
	defer func() { check(t, s.teardown(context.Background(), "rule", p.ID, false, func() error { return nil })) }()
	before := readImage(t)
	pattern(t, "b")
	return changed(before, readImage(t))
}

// pattern fills the origin with one letter, 1 MiB a write, past the page cache.
func pattern(t *testing.T, letter string) {
	t.Helper()
	output(t, "sh", "-c", fmt.Sprintf("head -c %d /dev/zero | tr '\\0' %s | dd of=/dev/mapper/drift bs=1M iflag=fullblock oflag=direct conv=fsync status=none", driftBytes, letter))
}

func readImage(t *testing.T) []byte {
	t.Helper()
	return output(t, "dd", "if=/dev/mapper/dmsnap-rule-drift", "bs=1M", "iflag=direct", "status=none")
}

func changed(a, b []byte) int {
	n := 0
	for i := 0; i < len(a); i += 4096 {
		if !bytes.Equal(a[i:i+4096], b[i:i+4096]) {
			n++
		}
	}
	return n
}

func output(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, errs.String())
	}
	return out
}
