package scenarios

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestManyVolumes cuts many volumes at one instant: what the writer put on two of them in order is in order.
func TestManyVolumes(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	many := lab.Rounds(t, 8, 64)
	disks := lab.Disks(t, 2)
	volumes := make([]lab.Volume, many)
	for i := range volumes {
		name := fmt.Sprintf("many%d", i)
		volumes[i] = lab.Volume{Name: name, Device: lab.Linear(t, name, disks[0], i*4, 4), Store: lab.Store(t, name+"-store", disks[1], i*8, 8)}
	}
	before := lab.Run(t, "dmsetup", "table")
	tool := lab.NewTool(t)
	first, last := 0, many-1
	w := lab.StartWriter(t, slots, volumes[first].Device, volumes[last].Device)
	w.WaitFor(t, 5)
	set := tool.Create("many", volumes...)
	w.WaitFor(t, slots/4)
	if len(set.Volumes) != many || set.State != "active" {
		t.Errorf("%d volumes, %s", len(set.Volumes), set.State)
	}
	t.Logf("window of %d volumes: %d us, skew %d us", many, set.Receipt.WindowUS, set.Receipt.SkewUS)
	a, b := lab.Check(t, set.Volumes[first].Device, slots), lab.Check(t, set.Volumes[last].Device, slots)
	least, most := w.Bounds(set.Receipt.Start, set.Receipt.End)
	if b > a || a > b+1 || a < least || a > most {
		t.Errorf("the first has %d records, the last %d; between %d and %d are right", a, b, least, most)
	}
	tool.OK("remove", "many")
	w.Stop(t)
	if after := lab.Run(t, "dmsetup", "table"); after != before {
		t.Errorf("tables before:\n%safter:\n%s", before, after)
	}
}

// TestEightSets has eight sets on one origin: each keeps its own instant while all others come and go.
func TestEightSets(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	const sets = 8
	disks := lab.Disks(t, 2)
	v := lab.Volume{Device: lab.Linear(t, "eight", disks[0], 0, 8)}
	var stores []string
	for i := range sets {
		stores = append(stores, lab.Store(t, fmt.Sprintf("eight-store%d", i), disks[1], i*16, 16))
	}
	before := lab.Run(t, "dmsetup", "table")
	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, v.Device)
	held, images := make([]uint64, sets), make([]string, sets)
	for i := range sets {
		w.WaitFor(t, 3)
		v.Store = stores[i]
		set := tool.Create(setName(i), v)
		images[i] = set.Volumes[0].Device
		held[i] = lab.Check(t, images[i], slots)
		if least, most := w.Bounds(set.Receipt.Start, set.Receipt.End); held[i] < least || held[i] > most {
			t.Errorf("set %d holds %d records; between %d and %d are right", i, held[i], least, most)
		}
	}
	w.WaitFor(t, slots/4)
	for gone := range sets {
		for i := gone; i < sets; i++ {
			if got := lab.Check(t, images[i], slots); got != held[i] {
				t.Errorf("%d sets are gone, and set %d holds %d records instead of %d", gone, i, got, held[i])
			}
		}
		tool.OK("remove", setName(gone))
		w.WaitFor(t, 3)
	}
	w.Stop(t)
	if after := lab.Run(t, "dmsetup", "table"); after != before {
		t.Errorf("tables before:\n%safter:\n%s", before, after)
	}
}

// TestSwapOnTheOrigin pages out and in all the while. What was paged out before the cut is what comes back.
func TestSwapOnTheOrigin(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	v := lab.Volume{Device: lab.Linear(t, "swap", disks[0], 0, 64), Store: lab.Store(t, "swap-store", disks[1], 0, 80)}
	lab.Run(t, "mkswap", v.Device)
	lab.Run(t, "swapon", v.Device)
	t.Cleanup(func() { lab.Run(t, "swapoff", v.Device) })
	b, err := unix.Mmap(-1, 0, 24<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	fillPages(b, 1)
	pageOut(t, b)
	tool := lab.NewTool(t)
	_, stderr, code := tool.Try("create", v.Device, "--store", v.Store, "--name", "swapped")
	if code != 9 || !strings.Contains(stderr, "in use as swap") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	set := tool.Show("swapped")
	image := checksum(t, set.Volumes[0].Device)
	checkPages(t, b, 1)
	fillPages(b, 2)
	pageOut(t, b)
	if checksum(t, set.Volumes[0].Device) != image {
		t.Error("the image has changed")
	}
	tool.OK("remove", "swapped")
	checkPages(t, b, 2)
}

const page = 4096

// fillPages makes each page its own, so that none is taken for another.
func fillPages(b []byte, round uint64) {
	for at := 0; at < len(b); at += page {
		binary.LittleEndian.PutUint64(b[at:], round<<32|uint64(at))
	}
}

func checkPages(t *testing.T, b []byte, round uint64) {
	t.Helper()
	for at := 0; at < len(b); at += page {
		if got := binary.LittleEndian.Uint64(b[at:]); got != round<<32|uint64(at) {
			t.Fatalf("the page at %d came back as %x", at, got)
		}
	}
}

func pageOut(t *testing.T, b []byte) {
	t.Helper()
	if err := unix.Madvise(b, unix.MADV_PAGEOUT); err != nil {
		t.Fatal(err)
	}
	used := strings.Fields(lab.Run(t, "swapon", "--show=USED", "--noheadings", "--bytes"))
	if len(used) != 1 || used[0] == "0" {
		t.Errorf("nothing was paged out: %v", used)
	}
}

// TestNamesOfEveryByte has origins whose names hold every byte that the kernel takes.
func TestNamesOfEveryByte(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	store := lab.Store(t, "names-store", disks[1], 0, 8)
	var bytes []byte
	for c := 1; c < 256; c++ {
		if c != '/' {
			bytes = append(bytes, byte(c))
		}
	}
	const room = 120
	for i := 0; i < len(bytes); i += room {
		name := "x" + string(bytes[i:min(i+room, len(bytes))])
		dev := rawDevice(t, name, fmt.Sprintf("0 %d linear %s %d", 4*lab.MiB, disks[0], i*4*lab.MiB))
		tool := lab.NewTool(t)
		out := tool.OK("create", dev, "--store", store, "--name", "odd", "--json")
		if strings.ContainsFunc(strings.TrimSpace(out), func(r rune) bool { return r < ' ' && r != '\n' }) {
			t.Errorf("control characters in %q", out)
		}
		image := tool.Show("odd").Volumes[0].Device
		if _, err := os.Stat(image); err != nil {
			t.Error(err)
		}
		for _, args := range [][]string{{"list"}, {"show", "odd"}, {"doctor", dev}} {
			if out := tool.OK(args...); strings.ContainsAny(out, "\x01\x07\x1b\x7f") {
				t.Errorf("%v writes control characters to the terminal: %q", args, out)
			}
		}
		tool.OK("remove", "odd")
	}
}
