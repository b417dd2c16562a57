package interpose

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// listener has a socket with the kernel's events of devices.
type listener struct {
	t  *testing.T
	fd int
}

func listen(t *testing.T) listener {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Close(fd); err != nil {
			t.Error(err)
		}
	})
	const fromKernel = 1
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: fromKernel}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 120}); err != nil {
		t.Fatal(err)
	}
	return listener{t, fd}
}

// next is the next thing that the module says of a base.
func (l listener) next(base string) string {
	l.t.Helper()
	text := make([]byte, 8192)
	for {
		n, err := unix.Read(l.fd, text)
		if err != nil {
			l.t.Fatalf("nothing more was said of %s: %v", base, err)
		}
		fields := strings.Split(string(text[:n]), "\x00")
		at := slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, "DM_INTERPOSE=") })
		if at >= 0 && slices.Contains(fields, "ACTION=change") && slices.Contains(fields, "DEVNAME="+base) {
			return strings.TrimPrefix(fields[at], "DM_INTERPOSE=")
		}
	}
}

// expect does something that the module says once, in each of its ways.
func (l listener) expect(r *rig, what string, do func()) {
	l.t.Helper()
	line := "dm_interpose: " + filepath.Base(r.plain) + ": " + what
	lines := func() int { return strings.Count(lab.Run(l.t, "dmesg"), line) }
	said := lines()
	events := strings.TrimSpace(lab.Run(l.t, "dmsetup", "info", "--columns", "--noheadings", "--options", "events", r.base))
	do()
	if got := l.next(r.kernelName(r.base)); got != what {
		l.t.Errorf("an event says %q, want %q", got, what)
	}
	if n := lines() - said; n != 1 {
		l.t.Errorf("the log says %d times %q", n, line)
	}
	lab.Run(l.t, "timeout", "120", "dmsetup", "wait", r.base, events)
}

// TestTold: whoever watches the log, udev's events or those of device-mapper learns what happens to a redirect.
func TestTold(t *testing.T) {
	lab.Need(t)
	lab.LoadModule(t)
	disk := lab.Disks(t, 1)[0]
	r := newRig(t, "told", lab.Partition(t, disk, 1, 1, 64))
	l := listen(t)
	pastFront := func() {
		lab.Run(t, "dd", "if=/dev/zero", "of="+disk, "bs=4k", "seek=512", "count=1", "oflag=direct", "conv=notrunc", "status=none")
	}
	for range 2 { // once each time it is attached
		l.expect(r, "attached", r.attach)
		l.expect(r, "bypassed", pastFront)
		pastFront()
		l.expect(r, "detached", r.detach)
	}
}

// TestRemovedDeviceIsTold pulls a disk that is attached and mounted. The first error tells.
func TestRemovedDeviceIsTold(t *testing.T) {
	lab.Need(t)
	lab.LoadModule(t)
	plain := scsiDisk(t)
	dir := formatted(t, plain)
	r := newRig(t, "pulled", plain)
	r.attach()
	fail := func() { refused(t, "sh", "-c", `echo more > "$1/after" && sync -f "$1"`, "sh", dir) }
	l := listen(t)
	l.expect(r, "dead", func() {
		put(t, "/sys/class/block/"+filepath.Base(plain)+"/device/delete", "1")
		fail()
	})
	fail()
	if front, _, state := r.fullStatus(); front != r.number() || state != "dead" {
		t.Errorf("front %s, state %q", front, state)
	}
	l.expect(r, "detached", r.detach)
	if front, _, state := r.fullStatus(); front != "-" || state != "dead" {
		t.Errorf("after detach: front %s, state %q", front, state)
	}
}
