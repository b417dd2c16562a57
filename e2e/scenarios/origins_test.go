package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestLVMAndLUKS cuts what servers have, under load and with udev running: a logical volume with ext4, and LUKS with xfs.
// The links in /dev/disk still lead to the origins, and nobody holds an image.
func TestLVMAndLUKS(t *testing.T) {
	lab.Need(t)
	disks := lab.Disks(t, 4)
	lv := logicalVolume(t, disks[0])
	luks := luksVolume(t, disks[1], "--disable-keyring")
	a := lab.Volume{Name: "vg-home", Device: lv, Store: disks[2]}
	b := lab.Volume{Name: "secret", Device: luks, Store: disks[3]}
	lab.Format(t, "ext4", a.Device)
	lab.Format(t, "xfs", b.Device)
	a.Dir, b.Dir = lab.Mount(t, a.Device), lab.Mount(t, b.Device)
	lab.Run(t, "udevadm", "settle")
	uuids := []string{byUUID(t, a.Device), byUUID(t, b.Device)}

	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, filepath.Join(a.Dir, "ring"), filepath.Join(b.Dir, "ring"))
	w.WaitFor(t, 5)
	set := tool.Create("both", a, b)
	w.WaitFor(t, slots)
	lab.Run(t, "udevadm", "settle")
	for i, v := range []lab.Volume{a, b} {
		if got := target(t, uuids[i]); got != devno(t, v.Device) {
			t.Errorf("%s leads to device %x, %s is %x", uuids[i], got, v.Device, devno(t, v.Device))
		}
		if holders := openers(t, set.Volumes[i].Device); len(holders) > 0 {
			t.Errorf("%s is held by %v", set.Volumes[i].Device, holders)
		}
	}
	dir := t.TempDir()
	tool.OK("mount", "both", dir)
	onA := lab.Check(t, filepath.Join(dir, a.Dir, "ring"), slots)
	onB := lab.Check(t, filepath.Join(dir, b.Dir, "ring"), slots)
	least, most := w.Bounds(set.Receipt.Start, set.Receipt.End)
	if onB > onA || onA > onB+1 || onA < least || onA > most {
		t.Errorf("LVM has %d records, LUKS %d; between %d and %d are right", onA, onB, least, most)
	}
	tool.OK("umount", "both")
	tool.OK("remove", "both")
	w.Stop(t)
	witness(t, a, b)
}

// witness has the tools that own the devices look at them.
func witness(t *testing.T, lv, luks lab.Volume) {
	t.Helper()
	if out := lab.Run(t, "lvs", "--noheadings", "-o", "lv_name,lv_active,lv_attr", "vg/home"); !strings.Contains(out, "active") {
		t.Errorf("lvs: %s", out)
	}
	if out := lab.Run(t, "cryptsetup", "status", "secret"); !strings.Contains(out, "in use") {
		t.Errorf("cryptsetup: %s", out)
	}
	lab.Run(t, "lvextend", "-L", "+16M", "vg/home")
	lab.Run(t, "umount", lv.Dir)
	lab.Run(t, "umount", luks.Dir)
	lab.Run(t, "e2fsck", "-fn", lv.Device)
	lab.Run(t, "xfs_repair", "-n", luks.Device)
	lab.Run(t, "mount", lv.Device, lv.Dir)
	lab.Run(t, "mount", luks.Device, luks.Dir)
}

// TestKeyInKeyring refuses what cannot work: the table of a LUKS2 mapping names a key that only the process that
// activated it could see.
func TestKeyInKeyring(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	luks := luksVolume(t, disks[0])
	before := lab.Run(t, "dmsetup", "table", "--showkeys")
	tool := lab.NewTool(t)
	_, stderr, code := tool.Try("create", luks, "--name", "k", "--store", disks[1])
	if code != 7 || !strings.Contains(stderr, "--disable-keyring") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if after := lab.Run(t, "dmsetup", "table", "--showkeys"); after != before {
		t.Errorf("tables before:\n%safter:\n%s", before, after)
	}
}

// TestSecretsStaySecret looks for the key of a LUKS origin in everything dmsnap prints and writes.
func TestSecretsStaySecret(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	luks := luksVolume(t, disks[0], "--disable-keyring")
	key := strings.Fields(lab.Run(t, "dmsetup", "table", "--showkeys", "secret"))[4]
	if len(key) < 64 {
		t.Fatalf("no key in the table: %d characters", len(key))
	}
	tool := lab.NewTool(t)
	var said strings.Builder
	for _, args := range [][]string{
		{"-vv", "create", luks, "--name", "k", "--store", disks[1], "--dry-run"},
		{"-vv", "create", luks, "--name", "k", "--store", disks[1], "--dry-run", "--json"},
		{"-vv", "create", luks, "--name", "k", "--store", disks[1], "--json"},
		{"-vv", "show", "k", "--json"},
		{"-vv", "doctor", luks, "--json"},
	} {
		out, stderr, code := tool.Try(args...)
		if code != 0 {
			t.Fatalf("%v: exit %d, %s", args, code, stderr)
		}
		said.WriteString(out + stderr)
	}
	said.WriteString(lab.Run(t, "grep", "-r", "", tool.State))
	tool.OK("remove", "k")
	if strings.Contains(said.String(), key) || strings.Contains(said.String(), key[:32]) {
		t.Error("the key was printed or written")
	}
}

func logicalVolume(t *testing.T, disk string) string {
	t.Helper()
	lab.Run(t, "wipefs", "-aq", disk)
	lab.Run(t, "vgcreate", "-qq", "vg", disk)
	t.Cleanup(func() { lab.Run(t, "vgremove", "-qq", "-f", "vg"); lab.Run(t, "pvremove", "-qq", disk) })
	lab.Run(t, "lvcreate", "-qq", "-y", "-L", "128M", "-n", "home", "vg")
	return "/dev/mapper/vg-home"
}

func luksVolume(t *testing.T, disk string, options ...string) string {
	t.Helper()
	pass := filepath.Join(t.TempDir(), "pass")
	if err := os.WriteFile(pass, []byte("open sesame"), 0o600); err != nil {
		t.Fatal(err)
	}
	lab.Run(t, "cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", disk, pass)
	t.Cleanup(func() { lab.Run(t, "wipefs", "-aq", disk) })
	lab.Run(t, "cryptsetup", append([]string{"open", "--key-file", pass, disk, "secret"}, options...)...)
	t.Cleanup(func() { lab.Run(t, "cryptsetup", "close", "secret") })
	return "/dev/mapper/secret"
}

// byUUID is the link that must go on leading to a device.
func byUUID(t *testing.T, dev string) string {
	t.Helper()
	uuid := strings.TrimSpace(lab.Run(t, "blkid", "-s", "UUID", "-o", "value", dev))
	link := "/dev/disk/by-uuid/" + uuid
	if target(t, link) != devno(t, dev) {
		t.Fatalf("%s does not lead to %s to begin with", link, dev)
	}
	return link
}

func target(t *testing.T, link string) uint64 { return devno(t, link) }

func devno(t *testing.T, node string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(node, &st); err != nil {
		t.Fatalf("%s: %v", node, err)
	}
	return st.Rdev
}

// openers are the processes that have a device open, by device number.
func openers(t *testing.T, node string) []string {
	t.Helper()
	dev := devno(t, node)
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range links {
		var st unix.Stat_t
		if unix.Stat(l, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && st.Rdev == dev {
			out = append(out, fmt.Sprint(l))
		}
	}
	return out
}
