package dm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestTortureDescriptors lets the tool have more and more descriptors until it has
// enough. All the other times it fails without a trace.
func TestTortureDescriptors(t *testing.T) {
	lab.Long(t)
	x := newTorture(t)
	op := underTorture()[1]
	for limit := 6; ; limit++ {
		x.prepare(t, op)
		before := x.tables(t)
		f := x.fate(op, byNothing, 0)
		f.Descriptors = uint64(limit)
		v := f.start(t)
		v.met(t, byNothing)
		outcome := x.settled(t, op, before)
		code := v.ProcessState.ExitCode()
		if (outcome == "after") != (code == 0) {
			t.Errorf("%d descriptors: exit %d, and the state is the one %s", limit, code, outcome)
		}
		if code == 0 {
			t.Logf("%d descriptors are enough", limit)
			break
		}
		if limit > 100 || t.Failed() {
			t.Fatalf("%d descriptors: exit %d", limit, code)
		}
	}
	x.clear(t)
}

// TestTortureSpace has less and less room for the state directory.
func TestTortureSpace(t *testing.T) {
	lab.Long(t)
	x := newTorture(t)
	dir := t.TempDir()
	output(t, "mount", "-t", "tmpfs", "-o", "size=128k", "full", dir)
	t.Cleanup(func() { output(t, "umount", dir) })
	x.state = filepath.Join(dir, "state")
	x.m = New(Options{StateDir: x.state})
	op := underTorture()[0]
	for _, room := range []int{64, 16, 12, 8, 4, 0} {
		x.prepare(t, op)
		before := x.tables(t)
		filler := filepath.Join(dir, "filler")
		leaveRoom(t, filler, room<<10)
		_, err := x.m.Create(context.Background(), tortureSet("victim", op.n))
		t.Logf("%d KiB: %v", room, err)
		if err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%d KiB: %v", room, err)
		}
		if err != nil {
			if after := x.tables(t); after != before {
				t.Errorf("%d KiB: tables before:\n%safter:\n%s", room, before, after)
			}
		}
		check(t, os.Remove(filler))
	}
	x.clear(t)
}

// leaveRoom leaves some bytes of a filesystem.
func leaveRoom(t *testing.T, path string, room int) {
	t.Helper()
	var fs unix.Statfs_t
	check(t, unix.Statfs(filepath.Dir(path), &fs))
	check(t, os.WriteFile(path, make([]byte, max(0, int(fs.Bavail)*int(fs.Bsize)-room)), 0o600))
}
