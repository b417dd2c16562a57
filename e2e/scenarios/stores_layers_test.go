package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestNoStoreNamed cuts a mount point with nothing said about stores: on the own filesystem if there is no other, beside
// it if there is, in memory if both are full. The set says why.
func TestNoStoreNamed(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	disks := lab.Disks(t, 3)
	v := lab.NewVolume(t, "plain", "ext4", disks[0], disks[1], 0, 320)
	tool := lab.NewTool(t)
	expect := func(name, kind, dir, why string) {
		t.Helper()
		dry := tool.OK("create", v.Dir, "--name", name, "--dry-run")
		set := tool.CreateOnly(name, v.Dir)
		s := set.Volumes[0].Store
		if s.Kind != kind || !strings.HasPrefix(s.Path, dir) || !strings.Contains(s.Why, why) || !strings.Contains(dry, s.Why) {
			t.Errorf("%s: %+v; the plan:\n%s", name, s, dry)
		}
		if text := tool.OK("show", name); !strings.Contains(text, s.Why) {
			t.Errorf("show does not say why:\n%s", text)
		}
		tool.OK("remove", name)
	}
	expect("own", "file", v.Dir, "no other filesystem")
	other := lab.Linear(t, "elsewhere", disks[2], 0, 320)
	lab.Format(t, "ext4", other)
	beside := lab.Mount(t, other)
	expect("beside", "file", beside, "most free space")
	conf := filepath.Join(t.TempDir(), "conf")
	if err := os.WriteFile(conf, []byte("store = /dev/nowhere\n["+v.Dir+"]\nstore = "+v.Store+"\nlimit = 8m\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	set := tool.CreateOnly("conf", v.Dir, "--config", conf)
	if s := set.Volumes[0].Store; s.Path != v.Store || s.SizeBytes != 8<<20 || !strings.Contains(s.Why, "configuration") {
		t.Errorf("conf: %+v", s)
	}
	tool.OK("remove", "conf")
	lab.Run(t, "sh", "-c", "cat /dev/zero > "+v.Dir+"/fill; cat /dev/zero > "+beside+"/fill; sync")
	expect("memory", "ram", "", "no filesystem has room")
}

// TestStoreThroughLayers has the store's file on LUKS on the logical volume that is cut: its blocks are found beneath both.
// Old data of the LUKS volume is not written there when the logical volume is cut too: that would be beneath its encryption.
func TestStoreThroughLayers(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	lv := logicalVolume(t, disks[0])
	luks := luksVolume(t, lv, "--disable-keyring")
	lab.Format(t, "ext4", luks)
	dir := lab.Mount(t, luks)
	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, filepath.Join(dir, "ring"))
	for _, row := range []struct {
		name    string
		origins []string
	}{{"above", []string{luks}}, {"below", []string{lv}}, {"both", []string{lv, luks}}} {
		name, args := row.name, []string{"--size", "8m"}
		for i, o := range row.origins {
			args = append(args, "--store", fmt.Sprintf("%s=file:%s/%s%d", o, dir, name, i))
		}
		if name == "both" {
			refused := append(append([]string{"create", "--name", name}, args...), row.origins...)
			if _, stderr, code := tool.Try(refused...); code != 7 || !strings.Contains(stderr, "below its encryption") {
				t.Errorf("%s: exit %d, %s", name, code, stderr)
			}
			args[len(args)-1] = luks + "=ram"
		}
		set := tool.CreateOnly(name, row.origins[0], append(args, row.origins[1:]...)...)
		w.WaitFor(t, slots)
		if set = tool.Show(name); set.State != "active" || set.Volumes[0].Store.UsedBytes == 0 {
			t.Errorf("%s: %+v", name, set)
		}
		held := set.Volumes[len(set.Volumes)-1].Device
		if name == "below" {
			opened(t, held)
			tool.OK("remove", name)
			continue
		}
		at := t.TempDir()
		lab.Run(t, "mount", "-o", "ro", held, at)
		lab.Check(t, filepath.Join(at, "ring"), slots)
		lab.Run(t, "umount", at)
		tool.OK("remove", name)
	}
	w.Stop(t)
	lab.Run(t, "umount", dir)
	lab.Run(t, "e2fsck", "-fn", luks)
	lab.Run(t, "mount", luks, dir)
}

// opened reads the filesystem inside an image of encrypted data.
func opened(t *testing.T, image string) {
	t.Helper()
	pass := filepath.Join(t.TempDir(), "pass")
	if err := os.WriteFile(pass, []byte("open sesame"), 0o600); err != nil {
		t.Fatal(err)
	}
	lab.Run(t, "cryptsetup", "open", "--readonly", "--key-file", pass, image, "past")
	defer lab.Run(t, "cryptsetup", "close", "past")
	at := t.TempDir()
	lab.Run(t, "mount", "-o", "ro", "/dev/mapper/past", at)
	defer lab.Run(t, "umount", at)
	lab.Check(t, filepath.Join(at, "ring"), slots)
}

// TestMemoryPressure has the host swap to the origin while its chunks are copied: neither waits for the other.
func TestMemoryPressure(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	v := lab.NewVolume(t, "tight", "ext4", disks[0], disks[1], 0, 640)
	swap := filepath.Join(v.Dir, "swap")
	lab.Run(t, "sh", "-c", "dd if=/dev/zero of="+swap+" bs=1M count=256 status=none && chmod 600 "+swap+" && mkswap -q "+swap)
	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
	for name, spec := range map[string]string{"own": "file:" + v.Dir, "ram": "ram"} {
		v.Store = spec
		tool.CreateWith(name, []string{"--size", "64m"}, v)
		lab.Run(t, "swapon", swap)
		lab.Run(t, "sh", "-c", squeeze)
		w.WaitFor(t, slots)
		lab.Run(t, "swapoff", swap)
		// What was swapped out may have filled it: the origin is what must go on.
		if set := tool.Show(name); set.State != "active" && set.State != "invalid" {
			t.Errorf("%s is %s", name, set.State)
		}
		tool.OK("remove", name)
	}
	w.Stop(t)
	lab.Run(t, "umount", v.Dir)
	lab.Run(t, "e2fsck", "-fn", v.Device)
	lab.Run(t, "mount", v.Device, v.Dir)
}

// squeeze takes more memory than there is, so that some of it is swapped out.
const squeeze = `
mkdir -p /run/squeeze && mount -t tmpfs -o size=200% none /run/squeeze
kib=$(awk '/MemAvailable/ {print $2 + 65536}' /proc/meminfo)
fallocate -l ${kib}k /run/squeeze/all
swapped=$(awk 'NR>1 {s+=$4} END {print s+0}' /proc/swaps)
umount /run/squeeze && rmdir /run/squeeze
[ "$swapped" -gt 0 ]`
