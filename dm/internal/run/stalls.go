package run

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// StallWarner warns each time patience is over that something has not come back. A
// call that waits inside the kernel, on a suspended or dead device, can be ended
// by nobody, and an operation that was asked to stop cannot take itself back
// before the call returns; then at least it says so, at once. A nil StallWarner is
// silent.
type StallWarner struct {
	ctx       context.Context
	log       *slog.Logger
	slowAfter time.Duration

	mu    sync.Mutex // held while a line is written
	what  string     // "" says nothing
	since time.Time
	timer *time.Timer
	stop  func() bool
}

// soon is when a user who cancelled an operation wants to know.
const soon = time.Second

// NewStallWarner warns of steps that take long until Stop.
func NewStallWarner(ctx context.Context, log *slog.Logger, slowAfter time.Duration, what string) *StallWarner {
	w := &StallWarner{ctx: ctx, log: log, slowAfter: slowAfter}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(slowAfter, w.warn)
	w.stop = context.AfterFunc(ctx, w.cancelled)
	w.what, w.since = what, time.Now()
	return w
}

// Now says what is done from here on, "" if it is not to be watched: no line is
// written after that returned, as none may be inside a window.
func (w *StallWarner) Now(what string) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.what, w.since = what, time.Now()
	w.timer.Reset(w.wait())
}

// Stop ends it. Nothing is written after it.
func (w *StallWarner) Stop() {
	w.stop()
	w.Now("")
	w.timer.Stop()
}

func (w *StallWarner) wait() time.Duration {
	if w.ctx.Err() != nil {
		return min(soon, w.slowAfter)
	}
	return w.slowAfter
}

func (w *StallWarner) cancelled() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Reset(w.wait())
}

func (w *StallWarner) warn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.what == "" {
		return
	}
	w.log.Warn("still waiting", "step", w.what, "for", time.Since(w.since).Round(time.Second), "asked_to_stop", w.ctx.Err() != nil)
	w.timer.Reset(w.slowAfter)
}
