package dm

import (
	"context"
	"fmt"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestRecoverWithAnotherStateDir: an operation under way is known by its locks.
// Its journal may be where the one who recovers does not look.
func TestRecoverWithAnotherStateDir(t *testing.T) {
	hostOnly(t)
	for _, name := range []string{"create", "create on copies", "attach", "create on a partition", "adopt"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			op := operations[name]
			for n := 1; ; n += step() {
				h := op.host(t, ioctltest.Options{Udev: true})
				o := h.m.opts
				o.StateDir = "/state2"
				other, first, met := New(o), h.Calls(), ""
				h.Fail(func(c ioctltest.Call) error {
					if c.N-first == n {
						met = fmt.Sprintf("recover at call %d, %s", n, c)
						h.Fail(nil)
						if _, err := other.Recover(context.Background()); err != nil {
							t.Errorf("%s: %v", met, err)
						}
					}
					return nil
				})
				err := op.do(h)
				h.Fail(nil)
				h.healthy(t)
				if err != nil {
					t.Fatalf("%s: %v", met, err)
				}
				if met == "" {
					return
				}
			}
		})
	}
}
