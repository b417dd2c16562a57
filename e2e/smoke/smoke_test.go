package smoke

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/leak"
)

func needGuest(t *testing.T) {
	t.Helper()
	if os.Getenv("DMSNAP_E2E") == "" {
		t.Skip("needs a guest: run by e2e")
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if text, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, text)
	}
}

func TestGuestIsRealKernel(t *testing.T) {
	needGuest(t)
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	if got, want := unix.ByteSliceToString(name.Release[:]), os.Getenv("DMSNAP_RELEASE"); got != want {
		t.Errorf("kernel %s, want %s", got, want)
	}
	if os.Getuid() != 0 {
		t.Errorf("uid %d, want root", os.Getuid())
	}
	if _, err := os.Stat("/dev/mapper/control"); err != nil {
		t.Error(err)
	}
	if dir := os.TempDir(); !strings.HasPrefix(t.TempDir(), dir) {
		t.Errorf("temporary files are not below %s", dir)
	}
}

// TestDisks reads and writes each disk's last sector through a device of its own: udev makes the node.
func TestDisks(t *testing.T) {
	needGuest(t)
	leak.Check(t)
	disks := strings.Split(os.Getenv("DMSNAP_DISKS"), ",")
	for _, disk := range disks {
		t.Run(disk, func(t *testing.T) {
			run(t, "dmsetup", "create", "smoke", "--table", "0 2048 linear "+disk+" 0")
			t.Cleanup(func() { run(t, "dmsetup", "remove", "smoke") })
			run(t, "dd", "if=/dev/zero", "of=/dev/mapper/smoke", "bs=4096", "count=16", "oflag=direct", "status=none")
		})
	}
}

// TestModulesLoadOnDemand has the kernel call modprobe, in the guest's own root.
func TestModulesLoadOnDemand(t *testing.T) {
	needGuest(t)
	leak.Check(t)
	run(t, "dmsetup", "create", "smoke-origin", "--notable")
	t.Cleanup(func() { run(t, "dmsetup", "remove", "smoke-origin") })
	run(t, "dmsetup", "load", "smoke-origin", "--table", "0 2048 error")
	disk, _, _ := strings.Cut(os.Getenv("DMSNAP_DISKS"), ",")
	run(t, "dmsetup", "load", "smoke-origin", "--table", "0 2048 snapshot-origin "+disk)
}
