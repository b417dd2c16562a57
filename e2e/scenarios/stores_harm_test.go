package scenarios

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestStoreFileIsSafe has a user try to do everything to the files of stores that could hurt. It is impossible, or does
// no harm, or, if root takes the pin away first, is told of. The origin goes on and is clean.
func TestStoreFileIsSafe(t *testing.T) {
	lab.Wide(t)
	for _, fstype := range systems() {
		t.Run(fstype, func(t *testing.T) {
			lab.Need(t)
			disks := lab.Disks(t, 3)
			v := lab.NewVolume(t, "tough", fstype, disks[0], disks[1], 0, 320)
			other := lab.Linear(t, "elsewhere", disks[2], 0, 320)
			lab.Format(t, fstype, other)
			beside := lab.Mount(t, other)
			tool := lab.NewTool(t)
			w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
			for name, file := range map[string]string{"own": filepath.Join(v.Dir, "cow"), "else": filepath.Join(beside, "cow")} {
				v.Store = "file:" + file
				tool.CreateWith(name, []string{"--size", "16m"}, v)
				impossible(t, file)
				w.WaitFor(t, slots/4)
				dir := t.TempDir()
				tool.OK("mount", name, dir)
				lab.Check(t, filepath.Join(dir, "ring"), slots)
				tool.OK("umount", name)
				tool.OK("remove", name)
			}
			noticed(t, tool, v)
			w.Stop(t)
			checkFilesystem(t, fstype, v.Device, v.Dir)
			checkFilesystem(t, fstype, other, beside)
		})
	}
}

// impossible tries what would take blocks from under the store.
func impossible(t *testing.T, file string) {
	t.Helper()
	for _, command := range []string{
		"rm -f %s", "mv %s %[1]s.old", "truncate -s 0 %s", "truncate -s 1G %s", "fallocate -p -o 0 -l 64k %s", "fallocate -d %s",
		"echo x > %s", "dd if=/dev/zero of=%s bs=4k count=1 conv=notrunc",
	} {
		command = fmt.Sprintf(command, file)
		before, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err == nil {
			t.Errorf("%s: it worked: %s", command, out)
		}
		if after, err := os.Stat(file); err != nil || after.Size() != before.Size() {
			t.Fatalf("%s: %v", command, err)
		}
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v", file, info, err)
	}
	if attrs := lab.Run(t, "lsattr", file); !strings.Contains(strings.Fields(attrs)[0], "d") {
		t.Errorf("backups do not leave it out: %s", attrs)
	}
	// Defragmenting it is refused, or leaves it where it is. Where blocks can be shared a copy is no harm.
	before := places(t, file)
	for _, tool := range [][]string{{"e4defrag", file}, {"xfs_fsr", file}, {"cp", "--reflink=always", file, file + ".copy"}} {
		_ = exec.Command(tool[0], tool[1:]...).Run()
	}
	if err := os.Remove(file + ".copy"); err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
	if after := places(t, file); len(before) == 0 || !slices.Equal(before, after) {
		t.Errorf("%s moved: %v, %v", file, before, after)
	}
}

// places are the physical places in filefrag's list. Writing to what was only reserved splits an extent and moves nothing.
func places(t *testing.T, file string) (out []extent) {
	t.Helper()
	for l := range strings.Lines(lab.Run(t, "filefrag", "-s", "-v", file)) {
		var n, from, to, start, end, length int64
		if got, _ := fmt.Sscanf(l, "%d: %d.. %d: %d.. %d: %d:", &n, &from, &to, &start, &end, &length); got < 6 {
			continue
		}
		if last := len(out) - 1; last >= 0 && out[last].start+out[last].length == start {
			out[last].length += length
			continue
		}
		out = append(out, extent{start, length})
	}
	return out
}

// noticed: root unpins the file and takes it away. The set says so, and goes without writing to what was its file's.
func noticed(t *testing.T, tool *lab.Tool, v lab.Volume) {
	t.Helper()
	file := filepath.Join(v.Dir, "cow")
	v.Store = "file:" + file
	tool.CreateWith("hurt", []string{"--size", "16m"}, v)
	lab.Run(t, "chattr", "-i", file)
	lab.Run(t, "fallocate", "-p", "-o", "1M", "-l", "64k", file)
	if set := tool.Show("hurt"); set.State != "broken" || !strings.Contains(set.Volumes[0].Reason, file) {
		t.Errorf("a punched file: %s, %q", set.State, set.Volumes[0].Reason)
	}
	lab.Run(t, "rm", file)
	if set := tool.Show("hurt"); set.State != "broken" || !strings.Contains(set.Volumes[0].Reason, "was deleted") {
		t.Errorf("a removed file: %s, %q", set.State, set.Volumes[0].Reason)
	}
	if out, _, code := tool.Try("list"); code != 0 || !strings.Contains(out, "broken") {
		t.Errorf("list: exit %d, %s", code, out)
	}
	tool.OK("remove", "hurt")
}

// TestFragmentedAndFull puts a store's file into the free pieces of a fragmented filesystem; on one that is nearly full it
// is refused, and nothing is left.
func TestFragmentedAndFull(t *testing.T) {
	lab.Long(t)
	for _, fstype := range systems() {
		t.Run(fstype, func(t *testing.T) {
			lab.Need(t)
			disks := lab.Disks(t, 2)
			v := lab.NewVolume(t, "frag", fstype, disks[0], disks[1], 0, 320)
			tool := lab.NewTool(t)
			w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
			fragment(t, v.Dir)
			v.Store = "file:" + v.Dir + "/cow"
			if _, stderr, code := tool.Try("create", v.Device, "--store", v.Store, "--size", "300m", "--name", "big"); code != 6 || !strings.Contains(stderr, "at most") {
				t.Errorf("too large: exit %d, %s", code, stderr)
			}
			set := tool.CreateWith("pieces", []string{"--size", "24m", "--chunk", "16k"}, v)
			if rows := strings.Count(lab.Run(t, "dmsetup", "table", "dmsnap-store-pieces-frag"), "\n"); rows < 150 {
				t.Errorf("the store has %d pieces only", rows)
			}
			w.WaitFor(t, slots)
			before := blockSums(t, set.Volumes[0].Device)
			lab.Run(t, "sh", "-c", "for i in $(seq 1 2 400); do head -c 8k /dev/urandom > "+v.Dir+"/more$i; done; sync -f "+v.Dir)
			dropCaches(t)
			unchanged(t, set.Volumes[0].Device, before, storeBlocks(t, "dmsnap-store-pieces-frag", "dmsnap-base-frag"))
			if shown := tool.Show("pieces"); shown.State != "active" {
				t.Errorf("%s: %+v", shown.State, shown.Volumes[0])
			}
			tool.OK("remove", "pieces")
			lab.Run(t, "sh", "-c", "rm -f "+v.Dir+"/more*")
			full(t, tool, v)
			w.Stop(t)
			checkFilesystem(t, fstype, v.Device, v.Dir)
		})
	}
}

// fragment takes all there is and gives pieces of 32 KiB back that do not touch.
func fragment(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "holes"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := int64(0)
	for ; unix.Fallocate(int(f.Fd()), 0, size, 1<<20) == nil; size += 1 << 20 {
	}
	const piece = 32 << 10
	for at := int64(0); at < min(size, 192<<20); at += 2 * piece {
		if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, piece); err != nil {
			t.Fatal(err)
		}
	}
	lab.Run(t, "sync", "-f", dir)
}

// full fills the filesystem up: neither a named nor a chosen store on it is made, nor anything left of one.
func full(t *testing.T, tool *lab.Tool, v lab.Volume) {
	t.Helper()
	lab.Run(t, "sh", "-c", "cat /dev/zero > "+v.Dir+"/fill || sync -f "+v.Dir)
	before := lab.Run(t, "ls", "-A", v.Dir)
	for _, args := range [][]string{{"--store", v.Store}, {"--store", v.Store, "--size", "16m"}, {"--store", "file:" + v.Dir}} {
		_, stderr, code := tool.Try(append([]string{"create", v.Device, "--name", "full"}, args...)...)
		if code != 6 {
			t.Errorf("%v on a full filesystem: exit %d, %s", args, code, stderr)
		}
	}
	if after := lab.Run(t, "ls", "-A", v.Dir); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
}

// TestMadeStoresDie fills stores in files and in memory up. The writer meets no error, the set says what became of it, and
// goes like any other.
func TestMadeStoresDie(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	disks := lab.Disks(t, 3)
	v := lab.NewVolume(t, "safe", "ext4", disks[0], disks[1], 0, 160)
	other := lab.Linear(t, "elsewhere", disks[2], 0, 96)
	lab.Format(t, "ext4", other)
	beside := lab.Mount(t, other)
	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
	for name, spec := range map[string]string{"own": "file:" + v.Dir, "else": "file:" + beside, "ram": "ram"} {
		v.Store = spec
		tool.CreateWith(name, []string{"--size", "1m"}, v)
		lab.Run(t, "sh", "-c", "head -c 16M /dev/urandom > "+v.Dir+"/flood && sync -f "+v.Dir)
		lost(t, tool, w, name)
		lab.Run(t, "rm", v.Dir+"/flood")
	}
	dead(t, tool, w, v, beside, other)
	w.Stop(t)
	lab.Check(t, filepath.Join(v.Dir, "ring"), slots)
	nothingLeft(t, v.Dir, "ring", "lost+found")
	nothingLeft(t, beside, "lost+found")
}

// dead pulls the disk beneath the filesystem of a store's file.
func dead(t *testing.T, tool *lab.Tool, w *lab.Writer, v lab.Volume, beside, other string) {
	t.Helper()
	v.Store = "file:" + beside
	tool.CreateWith("dead", []string{"--size", "16m"}, v)
	own := strings.TrimSpace(lab.Run(t, "dmsetup", "table", "elsewhere"))
	swap := func(table string) {
		lab.Run(t, "dmsetup", "suspend", "--noflush", "--nolockfs", "elsewhere")
		lab.Run(t, "dmsetup", "reload", "elsewhere", "--table", table)
		lab.Run(t, "dmsetup", "resume", "elsewhere")
	}
	swap(strings.Join(strings.Fields(own)[:2], " ") + " error")
	lab.Run(t, "sh", "-c", "head -c 4M /dev/urandom > "+v.Dir+"/flood && sync -f "+v.Dir)
	w.WaitFor(t, slots)
	if set := tool.Show("dead"); set.State != "invalid" {
		t.Errorf("dead is %s because %q", set.State, set.Volumes[0].Reason)
	}
	swap(own)
	// What is left of the filesystem may be read-only by now: mounted anew it is whole.
	tool.Try("remove", "dead")
	lab.Run(t, "umount", beside)
	// 1: the counts of free blocks and inodes are put right after the device died.
	lab.Run(t, "sh", "-c", "e2fsck -fy "+other+" || test $? = 1")
	lab.Run(t, "mount", other, beside)
	tool.Try("remove", "dead")
	if out := tool.OK("list"); strings.Contains(out, "dead") {
		t.Errorf("left: %s", out)
	}
	lab.Run(t, "sh", "-c", "rm "+v.Dir+"/flood; test ! -e "+beside+"/.dmsnap || { chattr -a "+beside+"/.dmsnap/*; rm -r "+beside+"/.dmsnap; }")
}

// TestOlderImagesKeepWhatWasThere: a second set puts its store's file on blocks that the first set's image still needs.
func TestOlderImagesKeepWhatWasThere(t *testing.T) {
	lab.Long(t)
	for _, fstype := range systems() {
		size := map[string]int{"ext4": 96, "xfs": 320}[fstype]
		t.Run(fstype, func(t *testing.T) {
			lab.Need(t)
			disks := lab.Disks(t, 2)
			v := lab.NewVolume(t, "older", fstype, disks[0], disks[1], 0, size)
			tool := lab.NewTool(t)
			old := filepath.Join(v.Dir, "old")
			lab.Run(t, "sh", "-c", fmt.Sprintf("head -c %dM /dev/urandom > %s", size*5/8, old)+" && sync -f "+v.Dir)
			sum := strings.Fields(lab.Run(t, "sha256sum", old))[0]
			first := v
			tool.Create("first", first)
			lab.Run(t, "sh", "-c", "rm "+old+" && sync -f "+v.Dir)
			v.Store = "file:" + v.Dir
			tool.CreateWith("second", []string{"--size", fmt.Sprintf("%dm", size*3/8)}, v)
			lab.Run(t, "sh", "-c", fmt.Sprintf("head -c %dM /dev/urandom > %s", size*2/8, v.Dir)+"/new && sync -f "+v.Dir)
			dropCaches(t)
			dir := t.TempDir()
			tool.OK("mount", "first", dir)
			if got := strings.Fields(lab.Run(t, "sha256sum", filepath.Join(dir, "old")))[0]; got != sum {
				t.Error("a file of the first image changed")
			}
			tool.OK("umount", "first")
			if shown := tool.Show("second"); shown.State != "active" {
				t.Errorf("second is %s: %s", shown.State, shown.Volumes[0].Reason)
			}
			tool.OK("remove", "second")
			tool.OK("remove", "first")
		})
	}
}

// TestLostStoreIsRead: when the kernel has given the image of a persistent store up, show still tells what is in the store,
// from its medium.
func TestLostStoreIsRead(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	v := lab.NewVolume(t, "read", "ext4", disks[0], disks[1], 0, 64)
	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
	tool.CreateWith("read", []string{"--size", "4m", "--persistent"}, v)
	w.WaitFor(t, slots)
	before := tool.Show("read").Volumes[0].Store.UsedBytes
	lab.Run(t, "sh", "-c", "head -c 16M /dev/urandom > "+v.Dir+"/flood && sync -f "+v.Dir)
	set := tool.Show("read")
	// Chunks that were still being copied then are not in it.
	if used := set.Volumes[0].Store.UsedBytes; set.State == "active" || before == 0 || used < before || used > 4<<20 {
		t.Errorf("%s: %d bytes of 4 MiB, %d before", set.State, used, before)
	}
	w.Stop(t)
	tool.OK("remove", "read")
}
