package guard

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// TestGuardCannotStart: whatever is missing is an error, and leaves no descriptor.
func TestGuardCannotStart(t *testing.T) {
	before := openFiles(t)
	if g, err := Start([]string{"/nonexistent/guard"}, "/nonexistent/socket"); g != nil || !errors.Is(err, ErrStart) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a program: %v, %v", g, err)
	}
	limited(t, unix.RLIMIT_FSIZE, 0, func() {
		if g, err := Start([]string{"/bin/true"}, ""); g != nil || !errors.Is(err, unix.EFBIG) {
			t.Errorf("without file sizes: %v, %v", g, err)
		}
	})
	refused := 0
	for spare := 0; ; spare++ {
		var g *Guard
		var err error
		limited(t, unix.RLIMIT_NOFILE, 256, func() {
			defer leaveFree(t, spare)()
			g, err = Start([]string{"/bin/true"}, "")
		})
		if err == nil {
			ok(t, g.Stop())
			break
		}
		if refused++; g != nil || !errors.Is(err, unix.EMFILE) {
			t.Errorf("with %d descriptors: %v, %v", spare, g, err)
		}
	}
	if refused < 3 {
		t.Errorf("refused %d times only", refused)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func limited(t *testing.T, resource int, limit uint64, do func()) {
	t.Helper()
	var old unix.Rlimit
	ok(t, unix.Getrlimit(resource, &old))
	ok(t, unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: old.Max}))
	do()
	ok(t, unix.Setrlimit(resource, &old))
}

func openFiles(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	ok(t, err)
	return len(names)
}

// leaveFree uses up all descriptors but some.
func leaveFree(t *testing.T, spare int) (restore func()) {
	t.Helper()
	var used []int
	for {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EMFILE) {
			break
		}
		ok(t, err)
		used = append(used, fd)
	}
	for _, fd := range used[:spare] {
		ok(t, unix.Close(fd))
	}
	return func() {
		for _, fd := range used[spare:] {
			ok(t, unix.Close(fd))
		}
	}
}

// TestAbandonedGuardIsWaitedFor: a program that lives on keeps no zombie.
func TestAbandonedGuardIsWaitedFor(t *testing.T) {
	g, err := Start([]string{"/bin/true"}, "")
	ok(t, err)
	pid := g.cmd.Process.Pid
	ok(t, g.Abandon())
	for end := time.Now().Add(time.Minute); unix.Kill(pid, 0) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) { // of a zombie: it would stay for ever
			t.Fatal("nobody waits for it")
		}
	}
}

// TestServiceWithoutGuard: where a service makes no guard a child serves; here neither
// does.
func TestServiceWithoutGuard(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "guard.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	ok(t, err)
	asked := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			err = conn.Close()
		}
		asked <- err
	}()
	before := openFiles(t)
	g, err := Start([]string{"/bin/true"}, socket)
	ok(t, err)
	if g.Kind() != Service {
		t.Errorf("a guard of kind %s", g.Kind())
	}
	if err := g.Prepare(Spec{}); !errors.Is(err, ErrStart) || g.Kind() != Process {
		t.Errorf("%v, kind %s", err, g.Kind())
	}
	ok(t, <-asked)
	ok(t, g.Stop())
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	ok(t, l.Close())
}

// TestServiceThatHangs: a service takes the connection and never answers, or takes none
// any more. Its time is bounded; a child serves then.
func TestServiceThatHangs(t *testing.T) {
	t.Setenv(answering, "1")
	command := []string{"/proc/self/exe", "-test.run=^TestAnswersAsAGuard$"}
	for name, service := range map[string]func(t *testing.T, socket string){
		"never answers": func(t *testing.T, socket string) {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
			ok(t, err)
			t.Cleanup(func() { ok(t, l.Close()) })
		},
		"takes none": func(t *testing.T, socket string) {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			ok(t, err)
			t.Cleanup(func() { ok(t, unix.Close(fd)) })
			ok(t, unix.Bind(fd, &unix.SockaddrUnix{Name: socket}))
			ok(t, unix.Listen(fd, 0))
			for range 2 { // one more than fits
				if conn, err := net.Dial("unix", socket); err == nil {
					t.Cleanup(func() { ok(t, conn.Close()) })
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "guard.sock")
			service(t, socket)
			g, err := Start(command, socket)
			ok(t, err)
			g.patience = time.Millisecond
			ok(t, g.Prepare(Spec{}))
			if g.Kind() != Process {
				t.Errorf("a guard of kind %s", g.Kind())
			}
			ok(t, g.Stop())
		})
	}
}

// answering is set for a process that plays the guard of TestServiceThatHangs.
const answering = "DMSNAP_TEST_ANSWERING"

func TestAnswersAsAGuard(t *testing.T) {
	if os.Getenv(answering) == "" {
		t.Skip("not for itself: it is a child of TestServiceThatHangs")
	}
	_, _, err := receiveProgram(ioctl.Host(), fdSocket)
	ok(t, err)
	_, err = rawSocket(fdSocket).Write(frame([]byte(ready)))
	ok(t, err)
	_, _ = unix.Read(fdSocket, make([]byte, 1)) // until the owner is gone
}
