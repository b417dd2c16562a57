package scenarios

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

func mistakes() []mistake {
	var all []mistake
	for _, some := range [][]mistake{requests, origins, conditions, stores, images, hosts} {
		all = append(all, some...)
	}
	return all
}

// requests make no sense, whatever the machine has.
var requests = []mistake{
	{name: "no origin", args: "create"},
	{name: "unknown flag", args: "create ORIGIN --stor STORE"},
	{name: "size without a unit", args: "create ORIGIN --store STORE --size 100"},
	{name: "chunk is not a power of two", args: "create ORIGIN --store STORE --chunk 12k"},
	{name: "chunk is a percentage", args: "create ORIGIN --store STORE --chunk 1%"},
	{name: "chunk is too small", args: "create ORIGIN --store STORE --chunk 2k"},
	{name: "chunk is too large", args: "create ORIGIN --store STORE --chunk 2g"},
	{name: "odd name", args: "create ORIGIN --store STORE --name a/b"},
	{name: "reserved name", args: "create ORIGIN --store STORE --name base-x"},
	{name: "long name", args: "create ORIGIN --store STORE --name " + strings.Repeat("x", 65)},
	{name: "name is taken", args: "create ORIGIN --store STORE --name held"},
	{name: "odd label", args: "create ORIGIN --store STORE --label nightly"},
	{name: "unknown consistency", args: "create ORIGIN --store STORE --consistency none"},
	{name: "no time to freeze", args: "create ORIGIN --store STORE --freeze-timeout 0s"},
	{name: "a volume twice", args: "create ORIGIN MOUNT --store ORIGIN=STORE --store MOUNT=SPARE"},
	{name: "no such set", args: "remove nightly"},
	{name: "set named twice", args: "remove held held"},
}

// origins that cannot be cut.
var origins = []mistake{
	{name: "no such origin", args: "create /dev/nowhere --store STORE"},
	{name: "no such tag", args: "create LABEL=nowhere --store STORE"},
	{name: "origin is a file", args: "create /etc/passwd --store STORE"},
	{name: "origin is a directory", args: "create /etc --store STORE"},
	{name: "origin is on no device", args: "create /proc --store STORE"},
	{name: "origin is a base", args: "create /dev/mapper/dmsnap-base-oth --store STORE"},
	{name: "origin is an image", args: "create /dev/mapper/dmsnap-held-oth --store STORE"},
	{name: "origin is our store", args: "create /dev/mapper/dmsnap-store-held-oth --store STORE"},
	{name: "origin serves as a store", args: "create TAKEN --store STORE"},
	{name: "origin of another tool's snapshots", args: "create ABOVE --store STORE", prepare: func(t *testing.T, s *scene) {
		above := lab.Table(t, "above", fmt.Sprintf("0 %d snapshot-origin %s", 32*lab.MiB, s.of("SPARE")))
		s.words = append([]string{"ABOVE", above}, s.words...)
	}},
	{name: "origin is a mounted plain device", args: "create DISK --store STORE", prepare: func(t *testing.T, s *scene) {
		lab.Run(t, "mkfs.ext4", "-q", "-F", s.of("DISK"), "16M")
		t.Cleanup(func() { lab.Run(t, "wipefs", "-aq", s.of("DISK")) })
		lab.Mount(t, s.of("DISK"))
	}},
}

// conditions of an origin that forbid a cut just now.
var conditions = []mistake{
	{name: "frozen by another program", args: "create ORIGIN --store STORE", prepare: func(t *testing.T, s *scene) {
		lab.Run(t, "fsfreeze", "-f", s.of("MOUNT"))
		t.Cleanup(func() { lab.Run(t, "fsfreeze", "-u", s.of("MOUNT")) })
	}},
	{name: "suspended by another program", args: "create SPARE --store STORE", prepare: func(t *testing.T, _ *scene) {
		lab.Run(t, "dmsetup", "suspend", "spare")
		t.Cleanup(func() { lab.Run(t, "dmsetup", "resume", "spare") })
	}},
	{name: "being reloaded by another program", args: "create SPARE --store STORE", prepare: func(t *testing.T, s *scene) {
		lab.Run(t, "dmsetup", "load", "spare", "--table", fmt.Sprintf("0 %d error", 32*lab.MiB))
		t.Cleanup(func() { lab.Run(t, "dmsetup", "clear", "spare") })
	}},
	{name: "locked", args: "create ORIGIN --store STORE --name next", prepare: func(t *testing.T, s *scene) { lock(t, s, "set-next") }},
	{name: "locked, remove", args: "remove held", prepare: func(t *testing.T, s *scene) { lock(t, s, "set-held") }},
	{name: "journal on another device", args: "create DATA --store STORE", prepare: externalJournal},
}

// lock is held by this process as by another dmsnap.
func lock(t *testing.T, s *scene, key string) {
	t.Helper()
	name := filepath.Join(s.tool.State, "lock", key)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(name); f.Close() })
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, os.Getpid())
}

// externalJournal mounts DATA, whose journal is on JOURNAL.
func externalJournal(t *testing.T, s *scene) {
	disks := lab.Disks(t, 1)
	data, journal := lab.Linear(t, "data", disks[0], 96, 32), lab.Linear(t, "journal", disks[0], 128, 32)
	s.words = append([]string{"DATA", data, "JOURNAL", journal}, s.words...)
	lab.Run(t, "mke2fs", "-q", "-F", "-O", "journal_dev", journal)
	lab.Run(t, "mkfs.ext4", "-q", "-F", "-J", "device="+journal, data)
	s.words = append([]string{"WHERE", lab.Mount(t, data)}, s.words...)
}

// stores that cannot serve.
var stores = []mistake{
	{name: "no such store", args: "create ORIGIN --store /dev/nowhere"},
	{name: "store is not a device", args: "create ORIGIN --store /etc/passwd"},
	{name: "store is the origin", args: "create ORIGIN --store ORIGIN"},
	{name: "store is an origin of the set", args: "create ORIGIN SPARE --store ORIGIN=STORE --store SPARE=ORIGIN"},
	{name: "store stands on the origin", args: "create SPARE --store ABOVE", prepare: func(t *testing.T, s *scene) {
		above := lab.Table(t, "above", fmt.Sprintf("0 %d linear %s 0", 32*lab.MiB, s.of("SPARE")))
		s.words = append([]string{"ABOVE", above}, s.words...)
	}},
	{name: "store serves another set", args: "create ORIGIN --store TAKEN"},
	{name: "store is an image", args: "create ORIGIN --store /dev/mapper/dmsnap-held-oth"},
	{name: "store for two", args: "create ORIGIN SPARE --store STORE"},
	{name: "store for an unknown origin", args: "create ORIGIN --store SPARE=STORE"},
	{name: "store carries a filesystem", args: "create ORIGIN --store SPARE", prepare: func(t *testing.T, s *scene) {
		lab.Format(t, "ext4", s.of("SPARE"))
		t.Cleanup(func() { lab.Run(t, "wipefs", "-aq", s.of("SPARE")) })
	}},
	{name: "store is mounted", args: "create ORIGIN --store SPARE", prepare: func(t *testing.T, s *scene) {
		lab.Format(t, "ext4", s.of("SPARE"))
		t.Cleanup(func() { lab.Run(t, "wipefs", "-aq", s.of("SPARE")) })
		s.words = append([]string{"WHERE", lab.Mount(t, s.of("SPARE"))}, s.words...)
	}},
	{name: "store is used by a device", args: "create ORIGIN --store SPARE", prepare: func(t *testing.T, s *scene) {
		lab.Table(t, "above", fmt.Sprintf("0 %d linear %s 0", 32*lab.MiB, s.of("SPARE")))
	}},
	{name: "store is suspended", args: "create ORIGIN --store SPARE", prepare: func(t *testing.T, _ *scene) {
		lab.Run(t, "dmsetup", "suspend", "spare")
		t.Cleanup(func() { lab.Run(t, "dmsetup", "resume", "spare") })
	}},
	{name: "store is read-only", args: "create ORIGIN --store SPARE", prepare: func(t *testing.T, s *scene) {
		lab.Run(t, "blockdev", "--setro", s.of("SPARE"))
		t.Cleanup(func() { lab.Run(t, "blockdev", "--setrw", s.of("SPARE")) })
	}},
	{name: "store is too small", args: "create ORIGIN --store SPARE --chunk 16m"},
	{name: "store is smaller than asked for", args: "create ORIGIN --store SPARE --size 64m"},
	{name: "store has larger sectors", args: "create ORIGIN --store LARGE", prepare: func(t *testing.T, s *scene) {
		file := filepath.Join(t.TempDir(), "large")
		lab.Run(t, "truncate", "-s", "64M", file)
		loop := strings.TrimSpace(lab.Run(t, "losetup", "--find", "--show", "--sector-size", "4096", file))
		t.Cleanup(func() { lab.Run(t, "losetup", "-d", loop) })
		s.words = append([]string{"LARGE", loop}, s.words...)
	}},
}

// images that cannot be mounted, unmounted or removed.
var images = []mistake{
	{name: "image is mounted", args: "remove formatted", prepare: func(t *testing.T, s *scene) {
		formatted(t, s)
		s.tool.OK("mount", "formatted", s.of("DIR"))
		t.Cleanup(func() { s.tool.OK("umount", "formatted") })
	}},
	{name: "image is open", args: "remove held", prepare: func(t *testing.T, _ *scene) { hold(t, "/dev/mapper/dmsnap-held-oth") }},
	{name: "image in use, umount", args: "umount formatted", prepare: func(t *testing.T, s *scene) {
		formatted(t, s)
		s.tool.OK("mount", "formatted", s.of("DIR"))
		t.Cleanup(func() { s.tool.OK("umount", "formatted") })
		hold(t, s.of("DIR"))
	}},
	{name: "no image is mounted", args: "umount held"},
	{name: "image has no filesystem", args: "mount held DIR"},
	{name: "mount on a file", args: "mount formatted /etc/passwd", prepare: formatted},
	{name: "image is invalid", args: "mount full DIR", prepare: func(t *testing.T, s *scene) {
		s.tool.OK("create", s.of("ORIGIN"), "--store", s.of("STORE"), "--name", "full", "--size", "256k")
		t.Cleanup(func() { s.tool.OK("remove", "full") })
		lab.Run(t, "sh", "-c", "head -c 8M /dev/urandom > $0/flood && sync -f $0; rm $0/flood", s.of("MOUNT"))
	}},
}

// formatted is a set of the mounted origin.
func formatted(t *testing.T, s *scene) {
	s.tool.OK("create", s.of("ORIGIN"), "--store", s.of("STORE"), "--name", "formatted")
	t.Cleanup(func() { s.tool.OK("remove", "formatted") })
}

func hold(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
}

// hosts that cannot serve.
var hosts = []mistake{
	{name: "not root", args: "create ORIGIN --store STORE", prepare: func(t *testing.T, s *scene) {
		s.run = func(cmd *exec.Cmd) {
			bin, err := os.Open(cmd.Path) // nobody may not go where it lies
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { bin.Close() })
			cmd.ExtraFiles, cmd.Path = []*os.File{bin}, "/proc/self/fd/3"
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
	}},
	{name: "no control node", args: "create ORIGIN --store STORE", prepare: func(_ *testing.T, s *scene) {
		inNamespace(s, "mount -t tmpfs -o ro none /dev/mapper")
	}},
	{name: "kernel is too old", args: "create ORIGIN --store STORE", prepare: func(_ *testing.T, s *scene) {
		s.run = func(cmd *exec.Cmd) { // a personality that calls every kernel 2.6
			cmd.Args = append([]string{"setarch", "--uname-2.6", cmd.Path}, cmd.Args[1:]...)
			cmd.Path = "/usr/bin/setarch"
		}
	}},
	{name: "state directory is read-only", args: "create ORIGIN --store STORE", prepare: func(t *testing.T, s *scene) {
		stateOn(t, s, "mount -o remount,ro $0")
	}},
	{name: "state directory is full", args: "create ORIGIN --store STORE", prepare: func(t *testing.T, s *scene) {
		stateOn(t, s, "head -c 1M /dev/zero > $0/fill || true")
	}},
	{name: "state directory is a file", args: "create ORIGIN --store STORE --state-dir /etc/passwd"},
	{name: "state directory is open to all", args: "create ORIGIN --store STORE", prepare: func(t *testing.T, s *scene) {
		stateOn(t, s, "chmod 777 $0")
	}},
	// The last one: the set is another afterwards.
	{name: "no snapshot target", args: "create ORIGIN --store STORE --name bare", prepare: func(t *testing.T, s *scene) {
		s.tool.OK("remove", "held")
		lab.Run(t, "rmmod", "dm_snapshot")
		lab.Run(t, "sh", "-c", "echo /bin/false > /proc/sys/kernel/modprobe")
		t.Cleanup(func() {
			lab.Run(t, "sh", "-c", "echo /sbin/modprobe > /proc/sys/kernel/modprobe")
			s.tool.OK("create", s.of("OTHER"), "--store", s.of("TAKEN"), "--name", "held")
		})
	}},
}

// inNamespace runs dmsnap where a command has changed what is mounted.
func inNamespace(s *scene, line string) {
	s.run = func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"unshare", "--mount", "--propagation", "private", "sh", "-c", line + ` && exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/usr/bin/unshare"
	}
}

// stateOn has the state directory be a small filesystem to which something was done.
func stateOn(t *testing.T, s *scene, line string) {
	dir := t.TempDir()
	lab.Run(t, "mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "state", dir)
	t.Cleanup(func() { lab.Run(t, "umount", dir) })
	tool := *s.tool
	tool.State = dir
	s.tool = &tool
	s.words = append([]string{"STATE", dir}, s.words...)
	tool.OK("recover")
	lab.Run(t, "sh", "-c", line, dir)
}
