package scenarios

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestHoldersAreNamed refuses to remove what is in use, says by whom, and removes it when it is free.
func TestHoldersAreNamed(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	v := lab.NewVolume(t, "held", "ext4", disks[0], disks[1], 0, 64)
	tool := lab.NewTool(t)
	image := tool.Create("busy", v).Volumes[0].Device

	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, tool, fmt.Sprintf("pid %d (", os.Getpid()))
	f.Close()

	size := strings.TrimSpace(lab.Run(t, "blockdev", "--getsz", image))
	lab.Run(t, "dmsetup", "create", "onimage", "--readonly", "--table", "0 "+size+" linear "+image+" 0")
	refused(t, tool, "onimage")
	lab.Run(t, "dmsetup", "remove", "--retry", "onimage")

	dir := t.TempDir()
	lab.Run(t, "mount", "-o", "ro", image, dir)
	refused(t, tool, "mounted on "+dir)
	lab.Run(t, "umount", dir)

	elsewhere := otherNamespace(t, image, dir, "ro")
	refused(t, tool, "mount namespace", fmt.Sprintf("pid %d", elsewhere.Process.Pid), dir)
	elsewhere.Process.Kill()
	elsewhere.Wait()

	tool.OK("remove", "busy")
}

func refused(t *testing.T, tool *lab.Tool, words ...string) {
	t.Helper()
	before := lab.Run(t, "dmsetup", "table")
	_, stderr, code := tool.Try("remove", "busy")
	if code != 5 {
		t.Errorf("exit %d, want 5: %s", code, stderr)
	}
	for _, w := range words {
		if !strings.Contains(stderr, w) {
			t.Errorf("%q does not name %q", stderr, w)
		}
	}
	if after := lab.Run(t, "dmsetup", "table"); after != before {
		t.Errorf("tables before:\n%safter:\n%s", before, after)
	}
}

// otherNamespace mounts a device where only a process of another mount namespace sees it.
func otherNamespace(t *testing.T, dev, dir, options string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c",
		`mount -o "$2" "$0" "$1" && echo ready && exec sleep 3600`, dev, dir, options)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if n, err := out.Read(make([]byte, 16)); n == 0 {
		t.Fatalf("the namespace was not made: %v", err)
	}
	return cmd
}

// stopUdev ends the guest's udev until the test is over.
func stopUdev(t *testing.T) {
	t.Helper()
	t.Setenv("DM_DISABLE_UDEV", "1") // for dmsetup, which would wait for ever
	lab.Run(t, "udevadm", "settle")
	lab.Run(t, "udevadm", "control", "--exit")
	if err := os.Remove("/run/udev/control"); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		lab.Run(t, "/lib/systemd/systemd-udevd", "--daemon")
		lab.Run(t, "udevadm", "trigger", "--subsystem-match=block")
		lab.Run(t, "udevadm", "settle")
	})
}

// TestWithoutUdev works on a host where nobody makes device nodes: dmsnap does, and removes them.
func TestWithoutUdev(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	stopUdev(t)
	v := lab.NewVolume(t, "plain", "ext4", disks[0], disks[1], 0, 64)
	before := lab.Run(t, "ls", "/dev/mapper")
	tool := lab.NewTool(t)
	image := tool.Create("nodes", v).Volumes[0].Device
	if st, err := os.Lstat(image); err != nil || st.Mode()&os.ModeDevice == 0 {
		t.Errorf("%s is no device node: %v, %v", image, st, err)
	}
	dir := t.TempDir()
	tool.OK("mount", "nodes", dir)
	tool.OK("umount", "nodes")
	tool.OK("remove", "nodes")
	if after := lab.Run(t, "ls", "/dev/mapper"); after != before {
		t.Errorf("nodes before:\n%safter:\n%s", before, after)
	}
}

// TestHostileNames uses names that a shell, a table or a path would take apart.
func TestHostileNames(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	trap := t.TempDir() + "/trap"
	for i, name := range []string{"with space", "semi;touch " + strings.ReplaceAll(trap, "/", ":"), "dots..", "ünïcode", "back\\slash", "a'b\"c", strings.Repeat("n", 127)} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			dev := rawDevice(t, name, fmt.Sprintf("0 %d linear %s %d", 16*lab.MiB, disks[0], i*16*lab.MiB))
			store := lab.Store(t, fmt.Sprintf("cow%d", i), disks[1], i*16, 16)
			tool := lab.NewTool(t)
			before := lab.Run(t, "dmsetup", "--manglename", "none", "table")
			tool.OK("create", dev, "--store", store, "--name", "odd", "--label", "x=$(touch "+trap+")")
			if !strings.Contains(tool.OK("list"), "odd") {
				t.Error("the set is not listed")
			}
			tool.OK("show", "odd")
			tool.OK("remove", "odd")
			if after := lab.Run(t, "dmsetup", "--manglename", "none", "table"); after != before {
				t.Errorf("tables before:\n%safter:\n%s", before, after)
			}
		})
	}
	for _, bad := range []string{"../up", "a/b", "base", "store-x", "", "a b", "-x", strings.Repeat("n", 65), "$(id)"} {
		if _, stderr, code := lab.NewTool(t).Try("create", disks[0], "--store", disks[1], "--name="+bad); code != 2 && bad != "" {
			t.Errorf("set name %q: exit %d, %s", bad, code, stderr)
		}
	}
	if _, err := os.Stat(trap); err == nil {
		t.Error("a name reached a shell")
	}
}

// rawDevice makes a device whose name the kernel has as it is: dmsetup would mangle it.
func rawDevice(t *testing.T, name, table string) string {
	t.Helper()
	lab.Run(t, "dmsetup", "--manglename", "none", "create", name, "--table", table)
	t.Cleanup(func() { lab.Run(t, "dmsetup", "--manglename", "none", "remove", "--retry", name) })
	no := strings.TrimSpace(lab.Run(t, "dmsetup", "--manglename", "none", "info", "-c", "--noheadings", "-o", "blkdevname", name))
	return "/dev/" + no
}
