package main

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"io"
	"net"
	"os"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

// keepCommand is how the tool calls itself as the process that keeps a prepared
// cut; not for users.
const keepCommand = "keep-prepared"

// keep is the life of such a process: it prepares, answers, and waits for one
// client that says cut or abort, for its expiry, or for a signal.
func keep(ctx context.Context, in io.Reader, out io.WriteCloser, open func(dm.Options) manager) int {
	var j job
	defer out.Close()
	if err := gob.NewDecoder(in).Decode(&j); err != nil {
		return 1
	}
	var p *dm.Prepared
	var socket *net.UnixListener
	answer := rendered(j.JSON, func(env *Env) (err error) {
		if p, err = open(dm.Options{StateDir: j.StateDir}).Prepare(ctx, j.Request); err != nil {
			return err
		}
		if socket, err = net.ListenUnix("unix", address(p.ID())); err != nil {
			return err
		}
		told := preparation{Token: p.ID(), Name: p.Name(), Expires: time.Now().Add(j.Expires).UTC(), PID: os.Getpid()}
		return emit(env, "preparations", []preparation{told}, func(w io.Writer) { writePreparation(w, told) })
	})
	told := json.NewEncoder(out).Encode(answer)
	out.Close()
	switch {
	case p == nil:
		return answer.Exit
	case answer.Exit != 0 || told != nil: // nobody knows of it
		_ = p.Abort(context.WithoutCancel(ctx))
		return 1
	}
	h := holder{p: p}
	return h.serve(ctx, socket, j.Expires)
}

// rendered does something whose output goes to somebody else.
func rendered(asJSON bool, do func(*Env) error) reply {
	var stdout, stderr bytes.Buffer
	env := &Env{Stdout: &stdout, Stderr: &stderr, JSON: asJSON}
	exit := env.finish(do(env))
	return reply{Stdout: stdout.String(), Stderr: stderr.String(), Exit: exit}
}

type holder struct{ p *dm.Prepared }

// serve returns when the preparation has ended, one way or the other.
func (h *holder) serve(ctx context.Context, socket *net.UnixListener, expires time.Duration) int {
	ctx, cancel := context.WithTimeout(ctx, expires)
	defer cancel()
	defer socket.Close() // whoever comes too late is not left waiting
	stop := context.AfterFunc(ctx, func() { socket.Close() })
	defer stop()
	for {
		conn, err := socket.AcceptUnix()
		if err != nil {
			if h.p.Abort(context.WithoutCancel(ctx)) != nil {
				return 1 // its entry in the journal stays: recover takes it back
			}
			return 0
		}
		if h.answer(ctx, conn) {
			return 0
		}
	}
}

// clientTimeout is how long a client may take to say what it wants.
const clientTimeout = 5 * time.Second

// answer hears one client. It tells whether the preparation has ended.
func (h *holder) answer(ctx context.Context, conn *net.UnixConn) bool {
	defer conn.Close()
	if !trusted(conn) || conn.SetReadDeadline(time.Now().Add(clientTimeout)) != nil {
		return false
	}
	var q question
	if err := json.NewDecoder(conn).Decode(&q); err != nil || q.Op != opCut && q.Op != opAbort {
		return false
	}
	// From here on neither our expiry nor the client's death changes anything.
	ctx = context.WithoutCancel(ctx)
	r := rendered(q.JSON, func(env *Env) error {
		if q.Op == opAbort {
			if err := h.p.Abort(ctx); err != nil {
				return err
			}
			return emit(env, "preparations", []preparation(nil), func(io.Writer) {})
		}
		set, err := h.p.Cut(ctx)
		return emitCreated(env, set, err)
	})
	_ = json.NewEncoder(conn).Encode(r) // who asked may be gone; the set is there all the same
	return true
}
