package main

import (
	"context"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/dmsnap/dmsnap/dm"
	"golang.org/x/sys/unix"
)

type cutCmd struct {
	Token string `arg:"" help:"The token that create --prepare printed."`
}

func (cutCmd) Help() string {
	return `Takes the prepared snapshot; this takes little longer than the window itself. If an origin has changed meanwhile, or the snapshot fails, ` +
		`everything is undone.`
}

func (cutCmd) manual() manual {
	return manual{
		examples: []string{"dmsnap cut 0b51d2f0a6c84f0e9d1f2a3b4c5d6e7f", "dmsnap cut 0b51d2f0a6c84f0e9d1f2a3b4c5d6e7f --json"},
		exits:    []int{0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11},
	}
}

func (c *cutCmd) Run(env *Env) error { return askHolder(env, opCut, c.Token) }

type abortCmd struct {
	Token string `arg:"" help:"The token that create --prepare printed."`
}

func (abortCmd) Help() string { return `Undoes what create --prepare prepared. No snapshot is taken.` }

func (abortCmd) manual() manual {
	return manual{
		examples: []string{"dmsnap abort 0b51d2f0a6c84f0e9d1f2a3b4c5d6e7f"},
		exits:    []int{0, 1, 2, 4, 11},
	}
}

func (c *abortCmd) Run(env *Env) error { return askHolder(env, opAbort, c.Token) }

// preparation is what create --prepare tells.
type preparation struct {
	Token   string    `json:"token"`
	Name    string    `json:"name"`
	Expires time.Time `json:"expires"`
	PID     int       `json:"pid"` // of the process that waits for cut or abort
}

// job is what the holder is told when it starts, as a gob: the texts of sizes in
// it are for people, and cannot all be read back.
type job struct {
	StateDir string
	JSON     bool
	Request  dm.CreateRequest
	Expires  time.Duration
}

// question is what a client asks the holder; reply is what either has to print.
type (
	question struct {
		Op   string
		JSON bool
	}
	reply struct {
		Stdout, Stderr string
		Exit           int
	}
)

const (
	opCut   = "cut"
	opAbort = "abort"
)

// relayed is the end of a command that another process carried out: everything
// is printed, and the status is that one's.
type relayed struct{ exit int }

func (r relayed) Error() string { return fmt.Sprintf("exit status %d", r.exit) }

// print gives a reply to the user.
func (r reply) print(env *Env) error {
	_, err := io.WriteString(env.Stdout, r.Stdout)
	_, werr := io.WriteString(env.Stderr, r.Stderr)
	switch err = errors.Join(err, werr); {
	case r.Exit != 0:
		return relayed{r.Exit}
	case err != nil:
		return changed("create", "", outputError(err))
	}
	return nil
}

// startHolder prepares a cut in a process of its own, which outlives this one and
// waits for cut, abort or its end. It has a session and no terminal, and holds no
// descriptor of ours: nobody waits for it.
func startHolder(ctx context.Context, env *Env, j job) error {
	in, out, err := pipes()
	if err != nil {
		return err
	}
	defer out.mine.Close()
	holder := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{"dmsnap", keepCommand}, Dir: "/", Stdin: in.theirs, Stdout: out.theirs,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = holder.Start()
	err = errors.Join(err, in.theirs.Close(), out.theirs.Close())
	if err != nil {
		return errors.Join(err, in.mine.Close())
	}
	err = gob.NewEncoder(in.mine).Encode(j)
	if err = errors.Join(err, in.mine.Close()); err != nil {
		return err
	}
	// Our own interruption is the holder's: it takes everything back and says so.
	stop := context.AfterFunc(ctx, func() { _ = holder.Process.Signal(unix.SIGTERM) })
	defer stop()
	var r reply
	if err := json.NewDecoder(out.mine).Decode(&r); err != nil {
		return &dm.Error{Op: "create", Set: j.Request.Name, Code: dm.CodeUnrecovered, Err: fmt.Errorf("the process that prepared the snapshot has ended: %w", err), Hint: "run dmsnap recover"}
	}
	return r.print(env)
}

// pipe has an end for us and one for the holder.
type pipe struct{ mine, theirs *os.File }

func pipes() (in, out pipe, err error) {
	if in.theirs, in.mine, err = os.Pipe(); err != nil {
		return in, out, err
	}
	if out.mine, out.theirs, err = os.Pipe(); err != nil {
		return in, out, errors.Join(err, in.theirs.Close(), in.mine.Close())
	}
	return in, out, nil
}

// askHolder lets the holder of a token do something.
func askHolder(env *Env, op, token string) error {
	gone := &dm.Error{
		Op: op, Code: dm.CodeNotFound, Err: fmt.Errorf("no prepared snapshot has the token %s", token),
		Hint: "it has expired, or was taken or aborted; run dmsnap create --prepare again",
	}
	if b, err := hex.DecodeString(token); err != nil || len(b) != 16 {
		return gone
	}
	conn, err := net.DialUnix("unix", nil, address(token))
	if err != nil {
		return gone
	}
	defer conn.Close()
	if !trusted(conn) {
		return gone
	}
	if err := json.NewEncoder(conn).Encode(question{op, env.JSON}); err != nil {
		return &dm.Error{Op: op, Code: dm.CodeNotFound, Err: err, Hint: gone.Hint}
	}
	var r reply
	if err := json.NewDecoder(conn).Decode(&r); err != nil {
		return &dm.Error{Op: op, Code: dm.CodeUnrecovered, Err: fmt.Errorf("the process that prepared the snapshot has ended: %w", err), Hint: "run dmsnap recover"}
	}
	return r.print(env)
}

// address is an abstract socket: it lies on no filesystem, which may be an
// origin's, and is gone with its process.
func address(token string) *net.UnixAddr {
	return &net.UnixAddr{Name: "@dmsnap-" + token, Net: "unix"}
}

// trusted tells whether the process at the other end is root's or of our user:
// anybody can bind or reach an abstract socket.
func trusted(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	var peer *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); cerr != nil || err != nil {
		return false
	}
	return peer.Uid == 0 || int(peer.Uid) == os.Geteuid()
}
