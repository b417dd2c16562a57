package dm

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// verdict looks at the images once more, now that all is read.
func (x *execution) verdict(why string) error {
	if x.set == nil {
		return nil
	}
	now, err := x.m.Show(context.Background(), x.set.Name)
	switch {
	case errors.Is(err, ErrNotFound):
		why = "the set " + x.set.Name + " was removed"
	case err != nil:
		why = "the images cannot be looked at: " + err.Error()
	case why == "":
		why = x.lost(now)
	}
	if now != nil {
		x.result.Set = now
	}
	if why == "" {
		return nil
	}
	x.result.Lost = why
	return x.fail(&Error{Code: CodeNoSpace, Err: fmt.Errorf("an image was lost while the command ran: what it made is not good: %s", why), Hint: "use a larger store: --size, --store"})
}

// whyLost is why a set is not worth reading any more; "" if it is.
func whyLost(set *Set) string {
	for _, v := range set.Volumes {
		if !v.readable() {
			return fmt.Sprintf("%s is %s: %s", v.Device, v.State, v.Reason)
		}
	}
	return ""
}

func (x *execution) lost(now *Set) string {
	if now.UUID != x.set.UUID {
		return "the set " + x.set.Name + " was removed"
	}
	return whyLost(now)
}

// startLooking looks after the images until stopLooking. What is lost goes to the
// channel, once.
func (x *execution) startLooking(ctx context.Context) (gone <-chan string) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	tell, ended := make(chan string, 1), make(chan struct{})
	go func() { defer close(ended); x.lookAfter(ctx, tell) }()
	x.stopLooking = func() { cancel(); <-ended }
	return tell
}

// lookAfter tells of an image that is lost. The kernel has an event for an image that
// it drops and for a front that is reloaded; all else shows at the end.
func (x *execution) lookAfter(ctx context.Context, gone chan<- string) {
	if x.set == nil {
		return
	}
	s, err := x.m.open("exec", x.set.Name)
	if err != nil {
		return // the verdict will have it
	}
	defer s.close()
	for ctx.Err() == nil {
		if s.ctl.ArmPoll() != nil {
			return
		}
		now, err := s.sets.show(x.set.Name)
		why := ""
		switch {
		case errors.Is(err, ErrNotFound), isNoSet(err):
			why = "the set " + x.set.Name + " was removed"
		case err == nil:
			why = x.lost(now)
		}
		if why != "" {
			gone <- why
			return
		}
		for until := time.Now().Add(defaultInterval); ctx.Err() == nil && time.Now().Before(until); {
			event, err := s.ctl.Poll(pollSlice)
			if err != nil {
				return
			}
			if event {
				break
			}
		}
	}
}
