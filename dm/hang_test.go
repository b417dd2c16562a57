package dm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// lines is a log that tells when something was written to it.
type lines struct {
	mu      sync.Mutex
	text    bytes.Buffer
	written chan struct{}
}

func newLines() *lines { return &lines{written: make(chan struct{}, 1)} }

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.written <- struct{}{}:
	default:
	}
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// logger writes warnings into it.
func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// TestHangIsReported has every system call before the window wait until somebody
// has asked the operation to stop and a warning has told for what it waits. When
// the call comes back everything is taken back. Closing is left out: after the
// last step nobody watches, and what is closed there waits for nothing.
func TestHangIsReported(t *testing.T) {
	hostOnly(t)
	for name, op := range operations {
		t.Run(name, func(t *testing.T) {
			for n := 2; hangOnce(t, op, n) && !t.Failed(); n += step() { // the first opens the control node
			}
		})
	}
}

func hangOnce(t *testing.T, op operation, n int) (more bool) {
	t.Helper()
	log := newLines()
	h := op.host(t, ioctltest.Options{Udev: true})
	h.m.opts.Logger, h.m.slowAfter = log.logger(), time.Millisecond
	before := withoutLocks(h.Snapshot())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	h.ctx = ctx
	var hung atomic.Pointer[ioctltest.Call] // the window has several threads
	var held atomic.Bool
	first := h.Calls()
	h.Fail(func(c ioctltest.Call) error {
		if c.Request == "FIFREEZE" {
			held.Store(true)
		}
		if c.N-first < n || c.Op == "close" || held.Load() || !hung.CompareAndSwap(nil, &c) {
			return nil
		}
		cancel()
		select {
		case <-log.written:
		case <-time.After(time.Minute):
			t.Errorf("%s hangs, and nobody says so", c)
		}
		return nil
	})
	err := op.do(h)
	h.Fail(nil)
	if hung.Load() == nil {
		check(t, err)
		return false
	}
	what := fmt.Sprintf("hung in call %d, %s: %v", n, hung.Load(), err)
	if err == nil {
		return true // it was the last call to look at
	}
	if !errors.Is(err, context.Canceled) || !strings.Contains(log.String(), "still waiting") {
		t.Errorf("%s; the log: %s", what, log)
	}
	same(t, what, before, withoutLocks(h.Snapshot()))
	return true
}
