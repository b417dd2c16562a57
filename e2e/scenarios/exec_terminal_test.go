package scenarios

import (
	"bufio"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestExecTerminal: the command has the terminal as long as it runs, to read from and
// for its keys; then it is again with those who had it before.
func TestExecTerminal(t *testing.T) {
	lab.Need(t)
	lab.Wide(t)
	tool, disks := lab.NewTool(t), lab.Disks(t, 2)
	v := lab.NewVolume(t, "home", "ext4", disks[0], disks[1], 0, 64)
	second := lab.Store(t, "second", disks[1], 100, 64)
	tool.Create("kept", v)
	writeLine(t, v.Dir+"/file", "later")
	dmsnap := strings.Join(tool.Command().Args, " ")
	for _, c := range []struct{ name, line string }{
		{"exec", dmsnap + " exec " + v.Dir + " --store " + second + " -- sh -c"},
		{"shell", dmsnap + " shell kept -- sh -c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			term := openTerminal(t, c.line+` 'trap "echo interrupted; exit 3" INT
				echo ready; read line; echo "got $line"; while :; do sleep 0.1; done'
				echo "status $?"; read line; echo "after $line"`)
			term.expect(t, "ready")
			term.write(t, "hello\n")
			term.expect(t, "got hello")
			term.write(t, "\x03")
			term.expect(t, "interrupted")
			term.expect(t, "status 3")
			term.write(t, "again\n")
			term.expect(t, "after again")
		})
	}
	tool.OK("remove", "kept")
}

// terminal is the side of a terminal at which a person sits.
type terminal struct {
	master *os.File
	lines  *bufio.Scanner
	said   []string
}

// openTerminal has a shell without job control run a script in a session on a new
// terminal.
func openTerminal(t *testing.T, script string) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	number := unlock(t, master)
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	p, err := os.StartProcess("/bin/sh", []string{"sh", "-c", script}, &os.ProcAttr{
		Env: os.Environ(), Files: []*os.File{slave, slave, slave}, Sys: &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		_, _ = p.Wait()
	})
	return &terminal{master: master, lines: bufio.NewScanner(master)}
}

// unlock readies a terminal and returns its number. The file stays one that has
// deadlines.
func unlock(t *testing.T, master *os.File) (number int) {
	t.Helper()
	conn, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		if failed = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failed == nil {
			number, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err := errors.Join(err, failed, master.SetReadDeadline(time.Now().Add(5*time.Minute))); err != nil {
		t.Fatal(err)
	}
	return number
}

// expect waits for a line.
func (term *terminal) expect(t *testing.T, want string) {
	t.Helper()
	for term.lines.Scan() {
		term.said = append(term.said, term.lines.Text())
		if strings.HasSuffix(strings.TrimSpace(term.lines.Text()), want) {
			return
		}
	}
	t.Fatalf("no %q, but\n%s", want, strings.Join(term.said, "\n"))
}

func (term *terminal) write(t *testing.T, text string) {
	t.Helper()
	if _, err := term.master.WriteString(text); err != nil {
		t.Fatal(err)
	}
}
