package interpose

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestBioBased interposes devices whose drivers take bios and have no requests to wait for.
func TestBioBased(t *testing.T) {
	for name, below := range map[string]func(t *testing.T) string{
		"brd": ramdisk,
		"md":  func(t *testing.T) string { return raid0(t, halves(t)...) },
	} {
		t.Run(name, func(t *testing.T) {
			lab.LoadModule(t)
			store := lab.Store(t, "store", lab.Disks(t, 2)[1], 0, 96)
			plain := below(t)
			dir := formatted(t, plain)
			r := newRig(t, "below", plain)
			w := lab.StartWriter(t, slots, filepath.Join(dir, "ring"))
			for range lab.Rounds(t, 2, 10) {
				r.cycle("ext4", store, dir, w)
			}
			w.Stop(t)
		})
	}
}

// TestStackedAbove has a filesystem on a loop device, or on a raid, that stands on what is attached and detached.
func TestStackedAbove(t *testing.T) {
	for name, stack := range map[string]func(t *testing.T, plains []string) string{
		"loop": func(t *testing.T, plains []string) string { return loopOn(t, plains[0]) },
		"md":   func(t *testing.T, plains []string) string { return raid0(t, plains...) },
	} {
		t.Run(name, func(t *testing.T) {
			lab.LoadModule(t)
			plains := halves(t)
			above := stack(t, plains)
			dir := formatted(t, above)
			w := lab.StartWriter(t, slots, filepath.Join(dir, "ring"))
			r := newRig(t, "under", plains[0])
			for range lab.Rounds(t, 2, 10) {
				before := written(t, r.frontDevice())
				r.attach()
				w.WaitFor(t, slots/2)
				if _, bypassed := r.status(); bypassed != 0 {
					t.Errorf("%d writes bypassed the front", bypassed)
				}
				if written(t, r.frontDevice()) == before {
					t.Error("no write came through the front")
				}
				r.detach()
				w.WaitFor(t, slots/4)
			}
			w.Stop(t)
			lab.Run(t, "umount", dir)
			lab.Run(t, "e2fsck", "-fn", above)
			lab.Run(t, "mount", above, dir)
			lab.Check(t, filepath.Join(dir, "ring"), slots)
		})
	}
}

// TestSwapFile has pages in a swap file on the filesystem of a partition: they are read and written on every way there is.
func TestSwapFile(t *testing.T) {
	lab.LoadModule(t)
	plain := lab.Partition(t, lab.Disks(t, 1)[0], 1, 1, 96)
	swap := filepath.Join(formatted(t, plain), "swap")
	lab.Run(t, "dd", "if=/dev/zero", "of="+swap, "bs=1M", "count=64", "conv=fsync", "status=none")
	lab.Run(t, "chmod", "600", swap)
	lab.Run(t, "mkswap", swap)
	lab.Run(t, "swapon", swap)
	t.Cleanup(func() { lab.Run(t, "swapoff", swap) })
	r := newRig(t, "swap", plain)
	pages := lab.Aligned(16 << 20)
	t.Cleanup(func() { lab.Free(pages) })
	for i := range lab.Rounds(t, 2, 10) {
		stamp(pages, byte(2*i+1))
		pageOut(t, pages) // past the front, while there is none
		r.attach()
		stamped(t, pages, byte(2*i+1))
		before := written(t, r.frontDevice())
		stamp(pages, byte(2*i+2))
		pageOut(t, pages)
		if got := written(t, r.frontDevice()) - before; got < len(pages)/2 {
			t.Errorf("%d bytes were swapped out through the front", got)
		}
		r.detach()
		stamped(t, pages, byte(2*i+2))
	}
}

// stamp gives each page contents of its own.
func stamp(pages []byte, n byte) {
	for i := 0; i < len(pages); i += 512 {
		pages[i] = n + byte(i>>9) + byte(i>>17)
	}
}

func stamped(t *testing.T, pages []byte, n byte) {
	t.Helper()
	for i := 0; i < len(pages); i += 512 {
		if pages[i] != n+byte(i>>9)+byte(i>>17) {
			t.Fatalf("byte %d came back from swap as %d", i, pages[i])
		}
	}
}

// pageOut swaps most of the pages out: the first call writes them, a later one drops them.
func pageOut(t *testing.T, pages []byte) {
	t.Helper()
	for range 1000 {
		if err := unix.Madvise(pages, unix.MADV_PAGEOUT); err != nil {
			t.Fatal(err)
		}
		if swapped(t) >= len(pages)*3/4 {
			return
		}
	}
	t.Fatalf("only %d bytes went to swap", swapped(t))
}

// swapped is how many bytes of this process are on swap.
func swapped(t *testing.T) (kib int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmSwap:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// TestControlGroups: what a group writes to an attached device is still counted as the group's, and once.
func TestControlGroups(t *testing.T) {
	lab.LoadModule(t)
	disks := lab.Disks(t, 1)
	plain := lab.Partition(t, disks[0], 1, 1, 64)
	root := t.TempDir()
	lab.Run(t, "mount", "-t", "cgroup2", "groups", root)
	t.Cleanup(func() { lab.Run(t, "umount", root) })
	put(t, filepath.Join(root, "cgroup.subtree_control"), "+io")
	group := filepath.Join(root, "writer")
	if err := os.Mkdir(group, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Run(t, "rmdir", group) })
	disk := strings.TrimSpace(lab.Run(t, "cat", "/sys/class/block/"+filepath.Base(disks[0])+"/dev"))
	counted := func() (n int) {
		for line := range strings.Lines(lab.Run(t, "cat", filepath.Join(group, "io.stat"))) {
			if fields, ok := strings.CutPrefix(line, disk+" "); ok {
				_, rest, _ := strings.Cut(fields, "wbytes=")
				if _, err := fmt.Sscan(rest, &n); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
			}
		}
		return n
	}
	const size = 4 << 20
	write := func() int {
		before := counted()
		lab.Run(t, "sh", "-c", `echo $$ > "$1" && exec dd if=/dev/zero of="$2" bs=64k count=64 oflag=direct conv=notrunc status=none`, "sh", filepath.Join(group, "cgroup.procs"), plain)
		return counted() - before
	}
	r := newRig(t, "group", plain)
	direct := write()
	r.attach()
	through := write()
	r.detach()
	if direct != size || through != size {
		t.Errorf("the group wrote %d bytes each time; %d were counted, and %d with the front", size, direct, through)
	}
}

// TestPolled writes and reads by io_uring on a device with polled queues, as databases do: what was to be polled completes.
func TestPolled(t *testing.T) {
	lab.LoadModule(t)
	lab.Run(t, "modprobe", "null_blk", "gb=1", "memory_backed=1", "poll_queues=1", "submit_queues=1")
	t.Cleanup(func() { lab.Run(t, "rmmod", "null_blk") })
	const plain = "/dev/nullb0"
	r := newRig(t, "polled", plain)
	verified := func() {
		lab.Run(t, "fio", "--name=polled", "--filename="+plain, "--rw=randwrite", "--verify=crc32c", "--verify_state_save=0", "--direct=1",
			"--ioengine=io_uring", "--hipri", "--iodepth=4", "--bs=4k", "--size=4m")
	}
	verified()
	r.attach()
	verified()
	r.detach()
	verified()
}

// TestDeviceVanishes pulls a disk with a mounted filesystem while it is attached: writers get errors, nobody waits for ever,
// and all of it can be taken down.
func TestDeviceVanishes(t *testing.T) {
	lab.LoadModule(t)
	plain := scsiDisk(t)
	dir := formatted(t, plain)
	r := newRig(t, "gone", plain)
	r.attach()
	if err := os.WriteFile(filepath.Join(dir, "before"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	lab.Run(t, "sync", "-f", dir)
	raw, err := os.OpenFile(plain, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()

	put(t, "/sys/class/block/"+filepath.Base(plain)+"/device/delete", "1")
	if _, err := raw.ReadAt(lab.Aligned(4096), 1<<20); err == nil {
		t.Error("a disk that is gone can be read")
	}
	refused(t, "sh", "-c", `echo more > "$1/after" && sync -f "$1"`, "sh", dir)
	r.detach()
	refused(t, "dmsetup", "message", r.base, "0", "attach", "/dev/mapper/"+r.front)
	if front, _ := r.status(); front != "-" {
		t.Errorf("attached to %s", front)
	}
}

// halves are two partitions of a disk.
func halves(t *testing.T) []string {
	t.Helper()
	disk := lab.Disks(t, 1)[0]
	return []string{lab.Partition(t, disk, 1, 1, 32), lab.Partition(t, disk, 2, 33, 32)}
}

// scsiDisk is a disk of a host adapter that exists in memory only.
func scsiDisk(t *testing.T, params ...string) string {
	t.Helper()
	lab.Run(t, "modprobe", "sd_mod")
	lab.Run(t, "modprobe", append([]string{"scsi_debug", "dev_size_mb=64"}, params...)...)
	t.Cleanup(func() { lab.Run(t, "rmmod", "scsi_debug") })
	lab.Run(t, "udevadm", "settle")
	disks, err := filepath.Glob("/sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*:*/block/*")
	if err != nil || len(disks) != 1 {
		t.Fatalf("disks of scsi_debug: %v, %v", disks, err)
	}
	return "/dev/" + filepath.Base(disks[0])
}

// ramdisk is a disk in memory.
func ramdisk(t *testing.T) string {
	t.Helper()
	lab.Run(t, "modprobe", "brd", "rd_nr=1", "rd_size=65536")
	t.Cleanup(func() { lab.Run(t, "rmmod", "brd") })
	lab.Run(t, "udevadm", "settle")
	return "/dev/ram0"
}

func loopOn(t *testing.T, plain string) string {
	t.Helper()
	dev := strings.TrimSpace(lab.Run(t, "losetup", "--find", "--show", "--direct-io=on", plain))
	t.Cleanup(func() { lab.Run(t, "losetup", "--detach", dev) })
	return dev
}

// raid0 stripes over partitions, without a superblock. Its program, mdadm, is not needed for that.
func raid0(t *testing.T, parts ...string) string {
	t.Helper()
	lab.Run(t, "modprobe", "raid0")
	put(t, "/sys/module/md_mod/parameters/new_array", "md127")
	const md = "/sys/block/md127/md/"
	put(t, md+"metadata_version", "none")
	put(t, md+"level", "raid0")
	put(t, md+"chunk_size", "65536")
	put(t, md+"raid_disks", fmt.Sprint(len(parts)))
	for i, part := range parts {
		name := filepath.Base(part)
		put(t, md+"new_dev", strings.TrimSpace(lab.Run(t, "cat", "/sys/class/block/"+name+"/dev")))
		var sectors int
		if _, err := fmt.Sscan(lab.Run(t, "blockdev", "--getsz", part), &sectors); err != nil {
			t.Fatal(err)
		}
		put(t, md+"dev-"+name+"/size", fmt.Sprint(sectors/2))
		put(t, md+"dev-"+name+"/slot", fmt.Sprint(i))
	}
	put(t, md+"array_state", "active")
	t.Cleanup(func() {
		lab.Run(t, "udevadm", "settle")
		put(t, md+"array_state", "clear")
	})
	lab.Run(t, "udevadm", "settle")
	return "/dev/md127"
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}
