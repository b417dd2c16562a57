package format_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/store/format"
	"github.com/dmsnap/dmsnap/e2e/lab"
	"github.com/dmsnap/dmsnap/targets"
)

// TestKernelAgrees has the kernel keep stores of several chunk sizes and modes,
// and compares its accounting with ours: live, after the store is loaded again,
// when an area is exactly full, and with a hole.
func TestKernelAgrees(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	for _, row := range []struct {
		mode    string
		sectors int // of a chunk
		writes  []int
	}{
		{"P", 1, []int{1, 31, 32, 33, 65}},
		{"P", 8, []int{1, 255, 256, 257, 600}},
		{"PO", 8, []int{256, 513}},
		{"PO", 32, []int{1, 200}},
		{"P", 128, []int{40}},
	} {
		t.Run(fmt.Sprintf("%s %d", row.mode, row.sectors), func(t *testing.T) {
			l := newLayer(t, row.mode, row.sectors)
			for _, n := range row.writes {
				l.touch(n)
				l.compare(fmt.Sprintf("%d chunks written", n), uint64(n))
			}
			l.load()
			l.compare("loaded again", uint64(l.touched))
			l.punch()
			l.load()
			l.compare("with a hole", uint64(l.touched))
		})
	}
}

// layer is an origin with a snapshot, made by dmsetup.
type layer struct {
	*testing.T
	origin, cow   string // disks
	mode          string
	sectors       int
	touched       int
	originSectors int
}

func newLayer(t *testing.T, mode string, sectors int) *layer {
	disks := strings.Split(os.Getenv("DMSNAP_DISKS"), ",")
	l := &layer{T: t, origin: disks[0], cow: disks[1], mode: mode, sectors: sectors, originSectors: 16 << 11}
	l.run("dd", "if=/dev/zero", "of="+l.cow, "bs=1M", "count=1", "oflag=direct", "status=none")
	l.run("dmsetup", "create", "fmt-real", "--table", fmt.Sprintf("0 %d linear %s 0", l.originSectors, l.origin))
	t.Cleanup(func() { l.run("dmsetup", "remove", "--retry", "fmt-real") })
	l.run("dmsetup", "create", "fmt-cow", "--table", fmt.Sprintf("0 %d linear %s 0", 8<<11, l.cow))
	t.Cleanup(func() { l.run("dmsetup", "remove", "--retry", "fmt-cow") })
	l.load()
	t.Cleanup(func() { l.run("dmsetup", "remove", "--retry", "fmt-front") })
	t.Cleanup(func() { l.run("dmsetup", "remove", "--retry", "fmt-image") })
	return l
}

// load makes the kernel read the store, in place of the snapshot there was.
func (l *layer) load() {
	l.Helper()
	for _, name := range []string{"fmt-image", "fmt-front"} {
		if exec.Command("dmsetup", "info", name).Run() == nil {
			l.run("dmsetup", "remove", "--retry", name)
		}
	}
	l.run("dmsetup", "create", "fmt-image", "--table",
		fmt.Sprintf("0 %d snapshot /dev/mapper/fmt-real /dev/mapper/fmt-cow %s %d", l.originSectors, l.mode, l.sectors))
	l.run("dmsetup", "create", "fmt-front", "--table", fmt.Sprintf("0 %d snapshot-origin /dev/mapper/fmt-real", l.originSectors))
}

// touch writes a sector of each of n chunks of the origin: every third, so that
// the kernel's in-core records do not join.
func (l *layer) touch(n int) {
	l.Helper()
	front, err := os.OpenFile("/dev/mapper/fmt-front", os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		l.Fatal(err)
	}
	defer front.Close()
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
	if err != nil {
		l.Fatal(err)
	}
	defer func() { _ = unix.Munmap(page) }()
	for ; l.touched < n; l.touched++ {
		if _, err := front.WriteAt(page[:512], int64(3*l.touched*l.sectors)*512); err != nil {
			l.Fatal(err)
		}
	}
}

// punch makes the hole a crash leaves: the last record names a chunk farther off.
func (l *layer) punch() {
	l.Helper()
	b, s := l.read()
	perArea := s.Chunk / 16
	last := uint64(l.touched - 1)
	at := (1+last/perArea*(perArea+1))*s.Chunk + last%perArea*16 + 8
	hole := binary.LittleEndian.Uint64(b[at:]) + 5
	if hole%(perArea+1) == 1 {
		hole++
	}
	l.run("dmsetup", "remove", "--retry", "fmt-image") // else the kernel writes its own idea of the area
	cow, err := os.OpenFile("/dev/mapper/fmt-cow", os.O_WRONLY|os.O_SYNC, 0)
	if err != nil {
		l.Fatal(err)
	}
	defer cow.Close()
	if _, err := cow.WriteAt(binary.LittleEndian.AppendUint64(nil, hole), int64(at)); err != nil {
		l.Fatal(err)
	}
}

func (l *layer) read() ([]byte, *format.Store) {
	l.Helper()
	copied := filepath.Join(l.TempDir(), "cow")
	l.run("dd", "if=/dev/mapper/fmt-cow", "of="+copied, "bs=1M", "iflag=direct", "status=none")
	b, err := os.ReadFile(copied)
	if err != nil {
		l.Fatal(err)
	}
	s, err := format.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		l.Fatal(err)
	}
	return b, s
}

func (l *layer) compare(when string, records uint64) {
	l.Helper()
	line := l.run("dmsetup", "status", "fmt-image")
	_, text, _ := strings.Cut(line, "snapshot ")
	kernel, err := targets.ParseSnapshotStatus(strings.TrimSpace(text))
	if err != nil {
		l.Fatal(err)
	}
	_, s := l.read()
	u, err := s.Usage()
	if err != nil {
		l.Fatal(err)
	}
	if u.Used != kernel.Used.Bytes() || u.Metadata != kernel.Metadata.Bytes() || u.Exceptions != records || !s.Valid || s.Chunk != uint64(l.sectors)*512 {
		l.Errorf("%s: read %+v of %+v, the kernel says %q, %d chunks were written", when, u, s.Header, text, records)
	}
}

func (l *layer) run(name string, args ...string) string {
	l.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		l.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
