package ioctltest_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestConformanceHost runs the cases on the real kernel: as root, in a virtual
// machine that nobody minds losing.
func TestConformanceHost(t *testing.T) {
	if os.Getenv("DMSNAP_E2E") == "" {
		t.Skip("needs a virtual machine: set DMSNAP_E2E there")
	}
	command(t, "modprobe", "brd", "rd_nr=4", "rd_size=65536")
	command(t, "modprobe", "-a", "dm-mod", "dm-snapshot", "dm-era", "dm-zero")
	command(t, "mkfs.ext4", "-q", "-F", "/dev/ram2")
	ioctltest.Conformance(t, ioctl.Host(), ioctltest.Env{
		A: "/dev/ram0", B: "/dev/ram1", Mountable: "/dev/ram2", Dir: t.TempDir(),
	})
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}
