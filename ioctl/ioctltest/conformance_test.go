package ioctltest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// Env is what Conformance may use up.
type Env struct {
	A, B      string // paths of two plain block devices of at least 16 MiB, contents lost
	Mountable string // path of a plain block device with an ext4
	Dir       string // an empty directory to mount on
}

// Conformance checks that a kernel behaves as facts about Linux 6.1 to 7.2 say.
// It runs on the kernel in memory and on real ones, so that the first stays
// honest. Everything it makes is named "dmsnap-conf-..." and removed again.
func Conformance(t *testing.T, k *ioctl.Kernel, env Env) {
	t.Helper()
	for _, c := range slices.Concat(deviceCases(), tableCases(), listCases(), freezeCases(), snapshotCases(), handoverCases(), imageCases(), chainCases()) {
		t.Run(c.name, func(t *testing.T) { c.run(newBench(t, k, env)) })
	}
}

// conformanceCase is one behaviour.
type conformanceCase struct {
	name string
	run  func(*bench)
}

// bench is the place one case works on.
type bench struct {
	*testing.T
	k    *ioctl.Kernel
	c    *ioctl.Control
	env  Env
	ver  version
	a, b ioctl.DevNo
}

const confPrefix = "dmsnap-conf-"

func newBench(t *testing.T, k *ioctl.Kernel, env Env) *bench {
	t.Helper()
	b := &bench{T: t, k: k, env: env}
	var err error
	b.c, err = k.OpenControl()
	b.ok(err)
	release, err := k.Release()
	b.ok(err)
	if _, err := fmt.Sscanf(release, "%d.%d", &b.ver.major, &b.ver.minor); err != nil {
		t.Fatal(err)
	}
	b.a, b.b = b.number(env.A), b.number(env.B)
	t.Cleanup(b.sweep)
	return b
}

// sweep removes what the case left, from the top down.
func (b *bench) sweep() {
	for n := range 500 {
		entries, err := b.c.List(ioctl.ID{Name: confPrefix})
		if err != nil || len(entries) == 0 {
			break
		}
		for _, e := range entries {
			id := ioctl.ID{Dev: e.Dev}
			// Each may fail until those above are gone.
			_ = b.c.Clear(id)
			_, _ = b.c.Resume(id, ioctl.SkipLockFS, ioctl.Event{})
			_, _ = b.c.Remove(id, 0, ioctl.Event{})
		}
		if n%10 == 9 { // udev may look at one just now
			time.Sleep(20 * time.Millisecond)
		}
	}
	entries, err := b.c.List(ioctl.ID{Name: confPrefix})
	if err != nil || len(entries) != 0 {
		b.Errorf("left over: %v, %v", entries, err)
	}
	b.wipe(b.env.A)
	b.wipe(b.env.B)
	if err := b.c.Close(); err != nil {
		b.Error(err)
	}
}

func (b *bench) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// want checks an errno, 0 for success.
func (b *bench) want(want unix.Errno, err error) {
	b.Helper()
	if want == 0 && err != nil || want != 0 && !errors.Is(err, want) {
		b.Errorf("got %v, want errno %d (%v)", err, int(want), want)
	}
}

func same[T comparable](b *bench, what string, got, want T) {
	b.Helper()
	if got != want {
		b.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func (b *bench) number(path string) ioctl.DevNo {
	b.Helper()
	st, err := b.k.Stat(path)
	b.ok(err)
	return st.Rdev
}

// open opens a device until the end of the case.
func (b *bench) open(path string, flags int) *ioctl.File {
	b.Helper()
	f, err := b.k.Open(path, flags, 0)
	b.ok(err)
	b.Cleanup(func() { _ = f.Close() })
	return f
}

func conf(id string) ioctl.ID { return ioctl.ID{Name: confPrefix + id} }

func (b *bench) create(id string) ioctl.Info {
	b.Helper()
	info, err := b.c.Create(confPrefix+id, "", 0, ioctl.DevNo{})
	b.ok(err)
	return info
}

func (b *bench) load(id string, specs ...ioctl.Spec) error {
	return b.c.Load(conf(id), 0, specs)
}

func (b *bench) resume(id string) error {
	_, err := b.c.Resume(conf(id), 0, ioctl.Event{})
	return err
}

func (b *bench) suspend(id string) error {
	_, err := b.c.Suspend(conf(id), 0)
	return err
}

// gone removes a device, in spite of a udev that looks at it just now.
func (b *bench) gone(id string) ioctl.Info {
	b.Helper()
	for range 500 {
		info, err := b.c.Remove(conf(id), 0, ioctl.Event{})
		if !errors.Is(err, unix.EBUSY) {
			b.ok(err)
			return info
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.Fatalf("%s stays busy", id)
	return ioctl.Info{}
}

// opens checks how often a device is open, in spite of a udev that looks at it just now.
func (b *bench) opens(what, id string, want int32) {
	b.Helper()
	var got int32
	for range 500 {
		if got = b.info(id).OpenCount; got == want {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.Errorf("%s: got %d, want %d", what, got, want)
}

func (b *bench) remove(id string) error {
	_, err := b.c.Remove(conf(id), 0, ioctl.Event{})
	return err
}

func (b *bench) info(id string) ioctl.Info {
	b.Helper()
	info, err := b.c.Status(conf(id))
	b.ok(err)
	return info
}

// live makes a device with a running table.
func (b *bench) live(id string, specs ...ioctl.Spec) ioctl.Info {
	b.Helper()
	b.create(id)
	b.ok(b.load(id, specs...))
	b.ok(b.resume(id))
	return b.info(id)
}

// node is a path that needs no udev.
func dmNode(no ioctl.DevNo) string { return fmt.Sprintf("/dev/dm-%d", no.Minor) }

func spec(length uint64, typ string, params ...any) ioctl.Spec {
	return ioctl.Spec{Length: length, Type: typ, Params: strings.TrimSuffix(fmt.Sprintln(params...), "\n")}
}

// status is the status text of the first target.
func (b *bench) status(id string) string {
	b.Helper()
	_, specs, err := b.c.TargetStatus(conf(id), 0)
	b.ok(err)
	return specs[0].Params
}

// line is the table line of the first target.
func (b *bench) line(id string, flags ioctl.Flags) string {
	b.Helper()
	_, specs, err := b.c.Table(conf(id), flags)
	b.ok(err)
	if len(specs) == 0 {
		return ""
	}
	return specs[0].Type + " " + specs[0].Params
}

const wiped = 1 << 20

// wipe zeroes the start of a device.
func (b *bench) wipe(path string) {
	b.Helper()
	f, err := b.k.Open(path, unix.O_WRONLY, 0)
	b.ok(err)
	_, err = f.WriteAt(make([]byte, wiped), 0)
	b.ok(errors.Join(err, f.Sync(), f.Close()))
}

// buffer is memory that direct I/O accepts.
func (b *bench) buffer(size int, fill byte) []byte {
	b.Helper()
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	b.ok(err)
	b.Cleanup(func() { _ = unix.Munmap(mem) })
	for i := range mem {
		mem[i] = fill
	}
	return mem
}

// put writes one value over a range, below the page cache.
func (b *bench) put(no ioctl.DevNo, off int64, size int, fill byte) error {
	b.Helper()
	f, err := b.k.Open(dmNode(no), unix.O_RDWR|unix.O_DIRECT, 0)
	b.ok(err)
	_, err = f.WriteAt(b.buffer(size, fill), off)
	return errors.Join(err, f.Close())
}

// get reads the first byte at each of several offsets, below the page cache.
func (b *bench) get(no ioctl.DevNo, offs ...int64) []byte {
	b.Helper()
	f, err := b.k.Open(dmNode(no), unix.O_RDONLY|unix.O_DIRECT, 0)
	b.ok(err)
	mem, got := b.buffer(pageSize, 0), make([]byte, len(offs))
	for i, off := range offs {
		_, err := f.ReadAt(mem, off)
		b.ok(err)
		got[i] = mem[0]
	}
	b.ok(f.Close())
	return got
}
