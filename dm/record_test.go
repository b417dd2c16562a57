package dm

import (
	"errors"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

const nightlyRecord = "/state/sets/nightly.json"

// TestRecordCannotBeRead: a removal that could not drop the record in the end does not
// begin.
func TestRecordCannotBeRead(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		err  error
		code Code
	}{
		"broken medium": {"", unix.EIO, CodeFailed},
		"newer":         {`{"schema_version": 9}`, nil, CodeUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, ioctltest.Options{Udev: true})
			h.create(t, both())
			if tt.text != "" {
				h.WriteFile(nightlyRecord, tt.text)
			}
			before := withoutLocks(h.Snapshot())
			h.Fail(func(c ioctltest.Call) error {
				if c.Path == nightlyRecord && c.Op == "read" {
					return tt.err
				}
				return nil
			})
			err := h.m.Remove(h.ctx, RemoveRequest{Name: "nightly"})
			h.Fail(nil)
			if e, typed := errors.AsType[*Error](err); !typed || e.Code != tt.code || e.Device != nightlyRecord && tt.err != nil || e.Hint == "" {
				t.Errorf("got %+v", err)
			}
			same(t, "refused", before, withoutLocks(h.Snapshot()))
			check(t, h.Border().Unlink(nightlyRecord)) // what the hint says
			check(t, h.m.Remove(h.ctx, RemoveRequest{Name: "nightly"}))
			h.healthy(t)
		})
	}
}

// TestRecordIsLostMeanwhile: when the record cannot be dropped any more the devices are
// gone, and that is what is said. The same call again goes on.
func TestRecordIsLostMeanwhile(t *testing.T) {
	h := newHost(t, ioctltest.Options{Udev: true})
	h.create(t, both())
	var gone atomic.Bool
	h.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_DEV_REMOVE" {
			gone.Store(true)
		}
		if gone.Load() && c.Path == nightlyRecord && (c.Op == "read" || c.Op == "open") {
			return unix.EIO
		}
		return nil
	})
	if err := h.m.Remove(h.ctx, RemoveRequest{Name: "nightly"}); !errors.Is(err, ErrPartial) {
		t.Errorf("got %v", err)
	}
	h.Fail(nil)
	check(t, h.m.Remove(h.ctx, RemoveRequest{Name: "nightly"}))
	if _, err := h.m.Show(h.ctx, "nightly"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
}
