package run

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// alone makes sure that a store, whose table was just loaded, has its device for
// itself. To the kernel all mapped devices are one holder, so it lets a second one
// in: an operation that checked before both loaded saw a free device. The last to load sees two,
// at the latest; his table goes before anything is written.
func (r *Runner) alone(s plan.Step) error {
	if s.Alone == (targets.DevNo{}) {
		return nil
	}
	store, err := r.number(s.Device)
	if err != nil {
		return err
	}
	if err := r.soleHolder(store, s.Alone); err != nil {
		return errors.Join(err, r.Control.Clear(ioctl.ID{Name: s.Device}))
	}
	return nil
}

// soleHolder expects one mapped device (drivers/md/dm.c, alloc_dev: "dm-%d").
func (r *Runner) soleHolder(store, on targets.DevNo) error {
	dir := "/sys/dev/block/" + on.String()
	holders, err := r.Kernel.ReadDir(dir + "/holders")
	if err != nil {
		return err
	}
	own := "dm-" + strconv.FormatUint(uint64(store.Minor), 10)
	for _, h := range holders {
		if h == own {
			continue
		}
		if name, err := r.Kernel.ReadFile(dir + "/holders/" + h + "/dm/name"); err == nil {
			h = strings.TrimSpace(string(name))
		}
		return plan.Refuse(plan.Busy, "", "use a device that nothing else uses", "the store's device %s is now also used by %s", on, h)
	}
	if len(holders) == 0 {
		return fmt.Errorf("%s does not hold its device %s", own, on)
	}
	return nil
}
