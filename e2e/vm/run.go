package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dmsnap/dmsnap/e2e/internal/wire"
)

// cancelGrace is how long a cancelled program has to die before the machine is killed.
const cancelGrace = 15 * time.Second

// Command is a program to run in the guest, as root. Paths are the host's: the guest sees the same files.
type Command struct {
	Path           string
	Args           []string
	Dir            string   // the host's working directory when empty
	Env            []string // added to a plain root environment
	Stdout, Stderr io.Writer
	Leaks          bool // look for what the program leaves behind
}

// Result is how a program ended: ExitCode is 128 plus the signal when one killed it.
type Result struct {
	ExitCode int
	Leaks    []string
	Troubles []string // kernel problems on the console while it ran
}

// Run runs one program and streams its output. When the context ends the program is killed, after the kernel has
// printed which tasks are blocked; when even that does not help, the machine is killed.
func (m *Machine) Run(ctx context.Context, command Command) (Result, error) {
	mark := m.console.mark()
	request, err := command.request()
	if err != nil {
		return Result{}, err
	}
	if err := m.conn.SendJSON(wire.KindRun, request); err != nil {
		return m.result(mark, wire.Exit{}), errors.Join(err, m.died())
	}
	exit, err := m.follow(ctx, command)
	return m.result(mark, exit), err
}

func (c Command) request() (wire.Run, error) {
	dir := c.Dir
	if dir == "" {
		cwd, err := os.Getwd()
		if err != nil {
			return wire.Run{}, err
		}
		dir = cwd
	}
	return wire.Run{Path: c.Path, Args: c.Args, Dir: dir, Env: c.Env, Leaks: c.Leaks}, nil
}

func (m *Machine) result(mark int, exit wire.Exit) Result {
	return Result{ExitCode: exit.Code, Leaks: exit.Leaks, Troubles: m.console.troubles(mark)}
}

// follow hands on frames until the program has ended.
func (m *Machine) follow(ctx context.Context, command Command) (wire.Exit, error) {
	cancelled, overdue := ctx.Done(), make(<-chan time.Time)
	for {
		select {
		case f, open := <-m.frames:
			if !open {
				return wire.Exit{}, m.died()
			}
			if f.kind == wire.KindExit {
				exit, err := decodeExit(f.payload)
				return exit, errors.Join(err, context.Cause(ctx))
			}
			if err := command.write(f); err != nil {
				return wire.Exit{}, err
			}
		case <-cancelled:
			cancelled, overdue = nil, time.After(cancelGrace)
			if err := m.conn.Send(wire.KindCancel, nil); err != nil {
				return wire.Exit{}, errors.Join(context.Cause(ctx), err)
			}
		case <-overdue:
			m.Kill()
			return wire.Exit{}, fmt.Errorf("the program could not be killed: %w; last on the console:\n%s",
				context.Cause(ctx), m.Console(80))
		}
	}
}

func decodeExit(payload []byte) (wire.Exit, error) {
	var exit wire.Exit
	if err := json.Unmarshal(payload, &exit); err != nil {
		return exit, fmt.Errorf("exit message: %w", err)
	}
	if exit.Error != "" {
		return exit, errors.New("in the guest: " + exit.Error)
	}
	return exit, nil
}

func (c Command) write(f frame) error {
	target := c.Stdout
	if f.kind == wire.KindStderr {
		target = c.Stderr
	}
	if target == nil {
		return nil
	}
	_, err := target.Write(f.payload)
	return err
}
