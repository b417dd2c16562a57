package freeze_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/freeze"
)

// inNamespace runs a script in a mount namespace of its own until the test
// ends; the script says "ready" and then reads a line that never comes.
func inNamespace(t *testing.T, script string, args ...string) (pid int) {
	t.Helper()
	line := append([]string{"--mount", "--propagation", "private", "sh", "-c", script}, args...)
	child := exec.Command("unshare", line...)
	in, err := child.StdinPipe()
	must(t, err)
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	t.Cleanup(func() { must(t, in.Close()); _ = child.Wait() }) // the read fails, as it should
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal("the namespace was not set up:", err)
	}
	return child.Process.Pid
}

// TestGuestForeignNamespace: the filesystem is mounted in another mount
// namespace only.
func TestGuestForeignNamespace(t *testing.T) {
	k := inGuest(t)
	dev := mkfs(t, "xfs", "/dev/ram0")
	dir := t.TempDir()
	pid := inNamespace(t, `mount /dev/ram0 "$0" && mkdir "$0/deep" && mount --bind "$0/deep" "$0/deep" && echo ready && read -r line`, dir)

	table := mounts(t, k)
	got := table.Of(dev)
	if len(got) != 2 || got[0].PID != pid || got[0].Path != dir || got[0].Reach == dir {
		t.Fatalf("mounts: %+v", got)
	}
	if table.All()[0].Namespace == got[0].Namespace {
		t.Error("the namespaces are the same")
	}
	set := open(t, k, dev)
	must(t, set.Freeze(t.Context()))
	w := startWriter(got[0].Reach)
	w.mustBlock(t)
	must(t, set.Prove())
	must(t, set.Thaw())
	w.mustFinish(t)
	must(t, set.Close())
}

// TestGuestChrootedProcess: of two processes in a namespace the first is
// chrooted and does not show the mount.
func TestGuestChrootedProcess(t *testing.T) {
	k := inGuest(t)
	dev := mkfs(t, "ext4", "/dev/ram0")
	root, dir := t.TempDir(), t.TempDir()
	pid := inNamespace(t, `mount /dev/ram0 "$1" && mount --bind / "$0" && exec 3<&0 && { sh -c 'read -r line <&3' & } &&
		exec chroot "$0" sh -c 'echo ready; read -r line'`, root, dir)
	got := mounts(t, k).Of(dev)
	if len(got) != 1 || got[0].PID == 0 || got[0].PID == pid || got[0].Path != dir {
		t.Fatalf("mounts: %+v, chrooted process %d", got, pid)
	}
	set := open(t, k, dev)
	must(t, set.Freeze(t.Context()))
	must(t, set.Thaw())
	must(t, set.Close())
}

// TestGuestThreadsNamespace: a thread has a namespace that its process has not.
func TestGuestThreadsNamespace(t *testing.T) {
	k := inGuest(t)
	dev := mkfs(t, "ext4", "/dev/ram0")
	dir := t.TempDir()
	tid, end, ended := make(chan int), make(chan struct{}), make(chan error, 1)
	go onOwnThread(func() {
		err := unshareAndMount(dir)
		tid <- unix.Gettid()
		<-end
		if err == nil {
			err = unix.Unmount(dir, 0)
		}
		ended <- err
	})
	thread := <-tid
	got := mounts(t, k).Of(dev)
	close(end)
	must(t, <-ended)
	if len(got) != 1 || got[0].PID != thread {
		t.Errorf("mounts: %+v, thread %d", got, thread)
	}
}

func unshareAndMount(dir string) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	return unix.Mount("/dev/ram0", dir, "ext4", 0, "")
}

// onOwnThread runs f on a thread that ends with it, which the first thread of
// a process cannot.
func onOwnThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f()
		return
	}
	done := make(chan struct{})
	go func() { defer close(done); onOwnThread(f) }()
	<-done
	runtime.UnlockOSThread()
}

func TestGuestNamespaceWithoutProcess(t *testing.T) {
	k := inGuest(t)
	dir := t.TempDir()
	run(t, "mount", "-t", "tmpfs", "none", dir)
	t.Cleanup(func() { run(t, "umount", dir) })
	run(t, "mount", "--make-private", dir)
	handle := filepath.Join(dir, "ns")
	must(t, os.WriteFile(handle, nil, 0o600))
	run(t, "unshare", "--mount="+handle, "true")
	t.Cleanup(func() { run(t, "umount", handle) })
	table, err := freeze.Mounts(k)
	must(t, err)
	problems := table.Problems()
	if len(problems) != 1 || problems[0].Kind != freeze.Unseen || problems[0].Text != handle {
		t.Errorf("problems: %v", problems)
	}
}

// TestGuestZombie: a process that has ended but was not waited for shows no
// mounts, and that is no problem.
func TestGuestZombie(t *testing.T) {
	k := inGuest(t)
	p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
	must(t, err)
	t.Cleanup(func() { _, err := p.Wait(); must(t, err) })
	must(t, unix.Waitid(unix.P_PID, p.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil))
	if len(mounts(t, k).All()) == 0 {
		t.Error("no mounts at all")
	}
}
