package interpose

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestAtomicWrites has a disk that promises not to tear writes of several blocks. Whoever can send such writes is not attached,
// since no front takes them; whoever cannot, as the files of a filesystem on a kernel of 2024, misses nothing.
func TestAtomicWrites(t *testing.T) {
	lab.Need(t)
	lab.LoadModule(t)
	plain := scsiDisk(t, "atomic_wr=1")
	limit := "/sys/block/" + filepath.Base(plain) + "/queue/atomic_write_unit_max_bytes"
	if text, err := os.ReadFile(limit); errors.Is(err, os.ErrNotExist) || strings.TrimSpace(string(text)) == "0" {
		t.Skip("needs other kernel: this one does not promise that writes are not torn")
	}
	r := newRig(t, "untorn", plain)
	if err := writeAtomically(t, plain, 16<<10); err != nil {
		t.Fatal(err)
	}
	r.refusedForAtomicWrites()
	if err := writeAtomically(t, plain, 16<<10); err != nil {
		t.Error(err)
	}

	path := filepath.Join(formatted(t, plain), "file")
	if err := os.WriteFile(path, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	lab.Run(t, "sync", "-f", path)
	err := writeAtomically(t, path, 4096)
	t.Logf("an atomic write to a file: %v", err)
	switch {
	case err == nil:
		r.refusedForAtomicWrites()
	case errors.Is(err, unix.EOPNOTSUPP):
		r.attach()
		r.detach()
	default:
		t.Error(err)
	}
}

func (r *rig) refusedForAtomicWrites() {
	r.t.Helper()
	out := refused(r.t, "dmsetup", "message", r.base, "0", "attach", "/dev/mapper/"+r.front)
	if !strings.Contains(out, "not supported") || !strings.Contains(lab.Run(r.t, "dmesg"), "atomic writes would fail") {
		r.t.Errorf("refused: %s", out)
	}
	if front, _, state := r.fullStatus(); front != "-" || state != "" {
		r.t.Errorf("attached to %s %s", front, state)
	}
}

// writeAtomically writes to the beginning of a file or device, whole or not at all.
func writeAtomically(t *testing.T, path string, size int) error {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := lab.Aligned(size)
	defer lab.Free(buf)
	const atomic = 0x40 // RWF_ATOMIC
	_, err = unix.Pwritev2(int(f.Fd()), [][]byte{buf}, 0, atomic)
	return err
}
