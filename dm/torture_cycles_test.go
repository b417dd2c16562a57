package dm

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
	"github.com/dmsnap/dmsnap/e2e/leak"
)

// TestTortureCycles creates and removes again and again in one process, as an
// agent does, while writers run: one volume and two, on devices, and in files
// behind loop devices; at times with a guard, which costs an emulator much. Neither
// the process nor the kernel grows by it.
func TestTortureCycles(t *testing.T) {
	lab.Long(t)
	x := newTorture(t)
	apart := lab.Linear(t, "apart", lab.Disks(t, 2)[1], 400, 96)
	lab.Format(t, "ext4", apart)
	elsewhere := lab.Mount(t, apart)
	guarded := New(Options{StateDir: x.state, Guard: []string{"/proc/self/exe", "guard"}, LockMemory: true})
	cycles := lab.Rounds(t, 2, 1000)
	if n, err := strconv.Atoi(os.Getenv("DMSNAP_CYCLES")); err == nil {
		cycles = n
	}
	cycle := func(i int) {
		m, r := x.m, tortureSet("victim", 1)
		switch i % 8 {
		case 1, 5:
			m = guarded
		case 3:
			r = tortureSet("victim", 2)
		case 7:
			r.Stores = map[string]string{"": fmt.Sprintf("file:%s/cow-%d", elsewhere, i)}
			r.StoreSize = Size{Bytes: 4 * mib}
		}
		_, err := m.Create(context.Background(), r)
		check(t, err)
		check(t, m.Remove(context.Background(), RemoveRequest{Name: "victim"}))
	}
	warm := max(2, cycles/10)
	for i := range warm {
		cycle(i)
	}
	before := x.taken(t)
	for i := range cycles {
		cycle(i)
		if i%100 == 99 {
			t.Logf("after %d: %v", i+1, x.taken(t))
		}
	}
	after := x.taken(t)
	t.Logf("before: %v; after %d cycles: %v", before, cycles, after)
	for _, line := range leak.Diff(before.things, after.things) {
		t.Error(line)
	}
	if after.threads > before.threads+4 { // the runtime starts some of its own
		t.Errorf("threads: %d, then %d", before.threads, after.threads)
	}
	if cycles < 500 { // less is lost in what memory does by itself
		return
	}
	for what, v := range map[string][2]int64{"heap": {before.heap, after.heap}, "slab": {before.slab, after.slab}} {
		if grown := v[1] - v[0]; grown > int64(cycles)*1024 {
			t.Errorf("%s: %d bytes more after %d cycles", what, grown, cycles)
		}
	}
}

// amounts are what a process and the kernel use.
type amounts struct {
	heap, resident, slab int64
	threads              int
	things               leak.State // devices, loops, semaphores, descriptors
}

func (a amounts) String() string {
	return fmt.Sprintf("heap %d KiB, resident %d KiB, unreclaimable slab %d KiB, %d threads", a.heap>>10, a.resident>>10, a.slab>>10, a.threads)
}

func (x *torture) taken(t *testing.T) (a amounts) {
	t.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	for _, w := range x.writers {
		w.Forget()
	}
	check(t, os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0))
	a.heap = int64(mem.HeapAlloc)
	a.slab = 1024 * number(t, "/proc/meminfo", "SUnreclaim:")
	a.resident = 1024 * number(t, "/proc/self/status", "VmRSS:")
	a.threads = int(number(t, "/proc/self/status", "Threads:"))
	var err error
	a.things, err = leak.Take()
	check(t, err)
	return a
}

// number is that of a line of a file in proc.
func number(t *testing.T, path, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(path)
	check(t, err)
	for l := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(l, name); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			check(t, err)
			return n
		}
	}
	t.Fatalf("%s has no %s", path, name)
	return 0
}
