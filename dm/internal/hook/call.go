package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Hook is one hook of one operation.
//
// It is called with an event and gets one line of JSON on its standard input. At
// pre-freeze it may end, with status 0 if the application is ready; or it may
// write a line "ready" to its standard output and stay: then it keeps the
// application still until its standard input is closed, which also happens when
// the caller dies, and ends. It is called again with post-thaw or abort in either
// case.
type Hook struct {
	Path  string
	Limit time.Duration // of each call; of one that stays, until it is ready and at its end

	staying *call // said ready, and runs until its input is closed
}

// grace is how long a hook has between SIGTERM and SIGKILL.
const grace = 2 * time.Second

// PreFreeze calls the hook and returns when it has ended or is ready and stays.
func (h *Hook) PreFreeze(ctx context.Context, input []byte) error {
	p, err := h.start(PreFreeze, input)
	if err != nil {
		return err
	}
	select {
	case <-p.ready:
		h.staying = p
		return nil
	case <-p.ended:
		return p.result()
	case <-time.After(h.Limit):
		return errors.Join(h.error(PreFreeze, fmt.Errorf("neither exited nor printed ready within %v", h.Limit)), p.kill())
	case <-ctx.Done():
		return errors.Join(ctx.Err(), p.kill())
	}
}

// End ends a program that stays, then calls the hook with post-thaw or abort. It is not cut
// short by a context: an application that was quiesced must be resumed.
func (h *Hook) End(event Event, input []byte) error {
	ended := h.endStay()
	p, err := h.start(event, input)
	if err != nil {
		return errors.Join(ended, err)
	}
	p.stdin.Close()
	return errors.Join(ended, p.wait(h.Limit))
}

func (h *Hook) endStay() error {
	p := h.staying
	if p == nil {
		return nil
	}
	h.staying = nil
	select {
	case <-p.ended: // by itself, at an unknown time
		return errors.Join(h.error(PreFreeze, errors.New("exited before its input was closed")), p.result())
	default:
	}
	p.stdin.Close()
	return p.wait(h.Limit)
}

func (h *Hook) error(event Event, err error) error {
	return fmt.Errorf("%w %s %s: %w", ErrHook, h.Path, event, err)
}

// call is one call.
type call struct {
	hook  *Hook
	event Event
	cmd   *exec.Cmd
	stdin io.WriteCloser
	said  output
	ready chan struct{} // closed when it said so
	ended chan struct{} // closed when it has ended, with err
	err   error
}

// start begins a call. The program has a process group, a plain environment and
// the root directory of its own.
func (h *Hook) start(event Event, input []byte) (*call, error) {
	p := &call{hook: h, event: event, ready: make(chan struct{}), ended: make(chan struct{})}
	p.said.ready = sync.OnceFunc(func() { close(p.ready) })
	p.cmd = exec.Command(h.Path, string(event))
	p.cmd.Dir = "/"
	p.cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = grace // a child of its that keeps the pipes open is not waited for
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, h.error(event, err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, h.error(event, errors.Join(err, p.stdin.Close()))
	}
	// A line fits into the pipe. A hook that does not read it is not disturbed.
	if _, err := p.stdin.Write(append(bytes.Clone(input), '\n')); err != nil && !errors.Is(err, syscall.EPIPE) {
		return nil, errors.Join(h.error(event, err), p.kill())
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// wait waits for the end, and brings it about when the limit is over.
func (p *call) wait(limit time.Duration) error {
	select {
	case <-p.ended:
		return p.result()
	case <-time.After(limit):
		return errors.Join(p.hook.error(p.event, fmt.Errorf("did not end within %v", limit)), p.kill())
	}
}

func (p *call) result() error {
	if p.err == nil || errors.Is(p.err, exec.ErrWaitDelay) {
		return nil
	}
	return p.hook.error(p.event, fmt.Errorf("%w%s", p.err, lastLine(p.said.String())))
}

// kill ends the whole process group.
func (p *call) kill() error {
	group := -p.cmd.Process.Pid
	p.stdin.Close()
	_ = syscall.Kill(group, syscall.SIGTERM) // gone already: as wanted
	select {
	case <-p.ended:
	case <-time.After(grace):
		_ = syscall.Kill(group, syscall.SIGKILL)
		<-p.ended
	}
	return nil
}

// output keeps the end of what a hook says, and hears "ready".
type output struct {
	mu    sync.Mutex
	text  []byte
	ready func()
}

// maxOutput is what is kept of a hook's words.
const maxOutput = 4096

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	if strings.Contains("\n"+string(o.text), "\nready\n") {
		o.ready()
	}
	if extra := len(o.text) - maxOutput; extra > 0 {
		o.text = bytes.Clone(o.text[extra:])
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}
