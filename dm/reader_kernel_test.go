package dm

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
	"github.com/dmsnap/dmsnap/ioctl"
)

// TestReaderOnAKernel reads an image whose size is no multiple of a page, with the
// page cache and past it: both give what the origin held at the cut, up to the last
// sector, whatever is asked for.
func TestReaderOnAKernel(t *testing.T) {
	lab.Need(t)
	disks := lab.Disks(t, 2)
	origin := lab.Table(t, "read", fmt.Sprintf("0 %d linear %s 0", 8*lab.MiB+3, disks[0]))
	store := lab.Store(t, "read-cow", disks[1], 0, 32)
	past := make([]byte, 8*mib+3*512)
	_, err := rand.Read(past)
	check(t, err)
	overwriteWith(t, origin, past)
	m := New(Options{StateDir: filepath.Join(t.TempDir(), "state"), NoGuard: true})
	_, err = m.Create(t.Context(), CreateRequest{Name: "nightly", Origins: []string{origin}, Stores: map[string]string{"": store}})
	check(t, err)
	overwriteWith(t, origin, bytes.Repeat([]byte{2}, len(past)))

	for _, direct := range []bool{false, true} {
		r, err := m.OpenVolume(t.Context(), OpenRequest{Set: "nightly", Direct: direct})
		check(t, err)
		if got := takesAnyRead(t, r); got == direct {
			t.Errorf("direct %v: the kernel takes a read of 100 bytes: %v", direct, got)
		}
		readsAll(t, r, past)
		check(t, r.Close())
	}
	check(t, m.Remove(t.Context(), RemoveRequest{Name: "nightly"}))
}

// overwriteWith fills a device.
func overwriteWith(t *testing.T, dev string, with []byte) {
	t.Helper()
	f, err := os.OpenFile(dev, os.O_WRONLY, 0)
	check(t, err)
	_, err = f.Write(with)
	check(t, errors.Join(err, f.Sync(), f.Close()))
}

// takesAnyRead tells whether the kernel reads odd bytes through the reader's own
// descriptor: not if that is open past the page cache.
func takesAnyRead(t *testing.T, r *Reader) bool {
	t.Helper()
	conn, err := r.SyscallConn()
	check(t, err)
	var odd error
	check(t, conn.Control(func(fd uintptr) { _, odd = unix.Pread(int(fd), make([]byte, 100), 1) }))
	if odd != nil && !errors.Is(odd, unix.EINVAL) {
		t.Error(odd)
	}
	return odd == nil
}

// readsAll compares all that a reader gives, in pieces of many sizes, from memory
// that suits the device and from any other.
func readsAll(t *testing.T, r *Reader, want []byte) {
	t.Helper()
	end := int64(len(want))
	if r.Size() != end {
		t.Fatalf("the image has %d bytes, want %d", r.Size(), end)
	}
	whole, err := io.ReadAll(io.NewSectionReader(r, 0, end))
	check(t, err)
	if !bytes.Equal(whole, want) {
		t.Error("the whole image is not what the origin held")
	}
	pages := ioctl.Aligned(2 * mib)
	for _, c := range []struct{ off, n int64 }{
		{0, 4096},
		{0, 2 * mib},
		{512, 512},
		{1, 100},
		{4095, 2},
		{4*mib - 7, mib + 13},
		{end - 512, 512},
		{end - 3*512, 3 * 512},
		{end - 10, 10},
		{end - mib - 1, mib + 1},
		{end - 4096, 4096},
	} {
		for _, p := range [][]byte{pages[:c.n], make([]byte, c.n)} {
			if n, err := r.ReadAt(p, c.off); int64(n) != c.n || err != nil || !bytes.Equal(p, want[c.off:c.off+c.n]) {
				t.Errorf("%d bytes at %d: %d, %v", c.n, c.off, n, err)
			}
		}
	}
	for off, left := range map[int64]int{end - 10: 10, end: 0, end + 5000: 0} {
		if n, err := r.ReadAt(pages[:4096], off); n != left || err != io.EOF {
			t.Errorf("past the end at %d: %d bytes, %v", off, n, err)
		}
	}
}
