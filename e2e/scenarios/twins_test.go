package scenarios

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestStoreIsNoTwin: the first chunk that is copied is that with the superblock. Nothing a store is made of is taken
// for the origin by who asks for its UUID, neither live nor when the set ended without being removed.
func TestStoreIsNoTwin(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	t.Run("udev", noTwins)
	stopUdev(t)
	t.Run("without udev", noTwins)
}

func noTwins(t *testing.T) {
	disks := lab.Disks(t, 3)
	elsewhere := lab.Linear(t, "elsewhere", disks[2], 0, 64)
	lab.Format(t, "ext4", elsewhere)
	dir := lab.Mount(t, elsewhere)
	for name, above := range map[string]func(t *testing.T, origin string){
		"filesystem": func(t *testing.T, origin string) { lab.Format(t, "ext4", origin) },
		"luks":       func(t *testing.T, origin string) { lab.Format(t, "ext4", lab.LUKS(t, "twinluks", origin)) },
		"lvm": func(t *testing.T, origin string) {
			lab.Group(t, "twinvg", origin)
			lab.LogicalVolume(t, "twinvg", "inner", "-l", "4")
		},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "filesystem" {
				lab.Long(t)
			}
			origin := lab.Linear(t, "twin", disks[0], 1, 64) // the disk itself begins with something else
			medium := lab.Store(t, "twin-cow", disks[1], 0, 64)
			above(t, origin)
			control(t, origin, disks[1])
			for _, store := range []string{medium, "file:" + dir, "ram:16m"} {
				noTwin(t, origin, store, name == "filesystem")
			}
		})
	}
}

// control: those who are asked see a device that begins like the origin and has one above it, as a store would. Which they
// choose is written down.
func control(t *testing.T, origin, disk string) {
	t.Helper()
	uuid := strings.TrimSpace(lab.Run(t, "blkid", "-p", "-s", "UUID", "-o", "value", origin))
	t.Run("control", func(t *testing.T) {
		like := lab.Linear(t, "like", disk, 128, 16)
		lab.Run(t, "dd", "if="+origin, "of="+like, "bs=64k", "count=1", "conv=notrunc,fsync", "status=none")
		t.Cleanup(func() { lab.Run(t, "wipefs", "-aq", like) })
		lab.Run(t, "dmsetup", "create", "onlike", "--readonly", "--table", "0 8 linear "+like+" 16384")
		defer lab.Run(t, "dmsetup", "remove", "--retry", "onlike")
		named := lab.Run(t, "blkid", "-c", "/dev/null", "-o", "device", "-t", "UUID="+uuid)
		if !slices.ContainsFunc(strings.Fields(named), func(dev string) bool { return same(dev, like) }) {
			t.Errorf("blkid does not see %s: %q", like, named)
		}
		t.Logf("of %q blkid chooses %s", named, lab.Run(t, "blkid", "-c", "/dev/null", "-U", uuid))
	})
}

// noTwin: where a filesystem lies directly on the origin the store's own node may be named among all that have the UUID,
// since the origin, with nothing above it, is always chosen before it.
func noTwin(t *testing.T, origin, store string, direct bool) {
	t.Helper()
	uuid := strings.TrimSpace(lab.Run(t, "blkid", "-p", "-s", "UUID", "-o", "value", origin))
	tool := lab.NewTool(t)
	tool.CreateOnly("twin", origin, "--store", store, "--size", "4m")
	lab.Run(t, "dd", "if="+origin, "of="+origin, "bs=4k", "count=1", "oflag=direct", "conv=notrunc,fsync", "status=none")
	node := "/dev/mapper/dmsnap-store-twin-twin"
	media := []string{node}
	for _, dev := range strings.Fields(strings.NewReplacer("(", " ", ")", " ").Replace(lab.Run(t, "dmsetup", "deps", "-o", "blkdevname", node))) {
		if _, err := os.Stat("/dev/" + dev); err == nil {
			media = append(media, "/dev/"+dev)
		}
	}
	if len(media) != 2 {
		t.Fatalf("the store is made of %v", media)
	}
	listed := media
	if direct {
		listed = media[1:]
	}
	asked(t, store+", live", uuid, media, listed)
	// As after a power cut: nothing of it is in the kernel, and the medium is what it was.
	if strings.HasPrefix(store, "/dev/") {
		lab.Run(t, "dmsetup", "remove", "--retry", "dmsnap-twin-twin")
		lab.Run(t, "dmsetup", "remove", "--retry", node)
		asked(t, store+", cut off", uuid, media[1:], media[1:])
	}
	tool.OK("remove", "twin")
	if out, err := exec.Command("blkid", "-p", media[1]).CombinedOutput(); strings.HasPrefix(store, "/dev/") && len(out) > 0 {
		t.Errorf("%s is left with %s, %v", store, out, err)
	}
}

// asked asks everybody who answers with devices for a UUID. None of media may be chosen, none of listed named among others.
func asked(t *testing.T, what, uuid string, media, listed []string) {
	t.Helper()
	if os.Getenv("DM_DISABLE_UDEV") == "" {
		lab.Run(t, "udevadm", "settle")
	}
	for _, args := range [][]string{
		{"blkid", "-c", "/dev/null", "-U", uuid},
		{"blkid", "-c", "/dev/null", "-o", "device", "-t", "UUID=" + uuid},
		{"findfs", "UUID=" + uuid},
		{"readlink", "-f", "/dev/disk/by-uuid/" + uuid},
		{"sh", "-c", "lsblk -rnpo NAME,UUID | grep " + uuid + " | cut -d' ' -f1"},
	} {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		t.Logf("%s: %v: %q %v", what, args, out, err)
		wrong := media
		if slices.Contains(args, "-t") || args[0] == "sh" {
			wrong = listed
		}
		for _, dev := range strings.Fields(string(out)) {
			if slices.ContainsFunc(wrong, func(m string) bool { return same(dev, m) }) {
				t.Errorf("%s: %v names %s, of which the store is made", what, args, dev)
			}
		}
	}
	at := t.TempDir()
	out, err := exec.Command("mount", "-o", "ro", "UUID="+uuid, at).CombinedOutput()
	t.Logf("%s: mount: %s %v", what, out, err)
	for _, m := range media {
		if strings.Contains(string(out), m+" ") {
			t.Errorf("%s: mount tries %s: %s", what, m, out)
		}
	}
	if err == nil {
		lab.Run(t, "umount", at)
	}
}

func same(a, b string) bool {
	var s, o unix.Stat_t
	return unix.Stat(a, &s) == nil && unix.Stat(b, &o) == nil && s.Mode&unix.S_IFBLK == unix.S_IFBLK && s.Rdev == o.Rdev
}
