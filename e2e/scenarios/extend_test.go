package scenarios

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestExtendUnderLoad fills a store that could not take it all, grown three times
// while the verifying writer runs, the last time onto a further device. The image
// stays bit for bit what it was, and the writer meets no error.
func TestExtendUnderLoad(t *testing.T) {
	lab.Wide(t)
	for _, format := range []string{"transient", "persistent"} {
		t.Run(format, func(t *testing.T) {
			lab.Need(t)
			if format == "persistent" {
				lab.Long(t)
			}
			disks := lab.Disks(t, 3)
			v := lab.Volume{Name: "ext", Device: lab.Linear(t, "ext", disks[0], 0, 24), Store: lab.Store(t, "ext-cow", disks[1], 0, 12)}
			lab.Format(t, "ext4", v.Device)
			v.Dir = lab.Mount(t, v.Device)
			lab.Run(t, "sh", "-c", "head -c 12M /dev/urandom > "+v.Dir+"/data; sync -f "+v.Dir)
			further := lab.Store(t, "ext-more", disks[2], 0, 32)
			before := lab.Run(t, "dmsetup", "table")
			tool := lab.NewTool(t)
			w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
			flags := []string{"--size", "4m"}
			if format == "persistent" {
				flags = append(flags, "--persistent")
			}
			set := tool.CreateWith("grow", flags, v)
			image := set.Volumes[0].Device
			want := sum(t, image)
			w.WaitFor(t, slots)
			for _, step := range []struct {
				args  []string
				at, n int64 // MiB to overwrite then
			}{
				{[]string{"7m"}, 0, 3},
				{[]string{"+2m"}, 3, 3},
				{[]string{"+1g", "--store", further}, 6, 6},
			} {
				tool.OK(append([]string{"extend", "grow"}, step.args...)...)
				w.WaitFor(t, slots/4)
				overwrite(t, filepath.Join(v.Dir, "data"), step.at<<20, step.n<<20)
				if got := sum(t, image); got != want {
					t.Fatalf("the image changed after extend %v", step.args)
				}
			}
			state := tool.Show("grow")
			if state.State != "active" {
				t.Errorf("the set is %s: %s", state.State, state.Volumes[0].Reason)
			}
			t.Log(strings.TrimSpace(lab.Run(t, "dmsetup", "status", "dmsnap-grow-ext")), strings.TrimSpace(lab.Run(t, "dmsetup", "table", "dmsnap-store-grow-ext")))
			if out, stderr, code := tool.Try("extend", "grow", "+1m"); code != 2 {
				t.Errorf("more than it can need: exit %d, %s%s", code, out, stderr)
			}
			w.Stop(t)
			tool.OK("remove", "grow")
			if after := lab.Run(t, "dmsetup", "table"); after != before {
				t.Errorf("tables before:\n%safter:\n%s", before, after)
			}
			lab.Check(t, filepath.Join(v.Dir, "ring"), slots)
		})
	}
}

// overwrite replaces a part of a file and waits until it is on the medium.
func overwrite(t *testing.T, path string, at, n int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, n), at); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// sum reads a whole device past the page cache of before.
func sum(t *testing.T, dev string) string {
	t.Helper()
	dropCaches(t)
	f, err := os.Open(dev)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}
