package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/guest/bench/report"
	"github.com/dmsnap/dmsnap/ioctl"
)

// hidden keeps udev from working on what is no origin, as dmsnap does.
const hidden = ioctl.PrimarySource | ioctl.DisableSubsystemRules | ioctl.DisableDiskRules | ioctl.DisableOtherRules

// floor is the least the kernel demands: floor.c makes the calls that hold writers, all else is done here, unmeasured.
func floor(name string, expedited bool, many int) method {
	flag := "0"
	if expedited {
		flag = "1"
	}
	return method{
		name: name, many: many,
		beforeCreate: prepared(preload), beforeRemove: prepared(loadOwn), afterRemove: prepared(dropParts),
		create: func(vs []volume) (report.Own, error) { return bare("cut", flag, vs) },
		remove: func(vs []volume) (report.Own, error) { return bare("swap", flag, vs) },
	}
}

// prepared does something to each volume and lets udev finish.
func prepared(do func(*ioctl.Control, volume) error) func([]volume) error {
	return func(vs []volume) error {
		ctl, err := ioctl.Host().OpenControl()
		if err != nil {
			return err
		}
		for _, v := range vs {
			if err == nil {
				err = do(ctl, v)
			}
		}
		return errors.Join(err, ctl.Close(), shell("udevadm settle"))
	}
}

func preload(ctl *ioctl.Control, v volume) error {
	store, err := ioctl.Host().Stat(v.store)
	if err != nil {
		return err
	}
	id := ioctl.ID{Name: v.name + "-image"}
	parts := map[string]ioctl.DevNo{}
	for part, spec := range map[string]ioctl.Spec{
		"-real": v.own,
		"-cow":  {Length: storeLength, Type: "linear", Params: store.Rdev.String() + " 0"},
	} {
		if parts[part], err = live(ctl, v.name+part, spec); err != nil {
			return err
		}
	}
	if _, err := ctl.Create(id.Name, "", 0, ioctl.DevNo{}); err != nil {
		return err
	}
	// An image that is suspended already spares its resume a wait.
	if _, err := ctl.Suspend(id, 0); err != nil {
		return err
	}
	err = ctl.Load(id, 0, []ioctl.Spec{{Length: originLength, Type: "snapshot", Params: fmt.Sprintf("%v %v N 128", parts["-real"], parts["-cow"])}})
	if err != nil {
		return err
	}
	return ctl.Load(ioctl.ID{Name: v.name}, 0, []ioctl.Spec{{Length: originLength, Type: "snapshot-origin", Params: parts["-real"].String()}})
}

// live makes a running device.
func live(ctl *ioctl.Control, name string, spec ioctl.Spec) (ioctl.DevNo, error) {
	info, err := ctl.Create(name, "", 0, ioctl.DevNo{})
	if err != nil {
		return info.Dev, err
	}
	if err := ctl.Load(ioctl.ID{Name: name}, 0, []ioctl.Spec{spec}); err != nil {
		return info.Dev, err
	}
	_, err = ctl.Resume(ioctl.ID{Name: name}, 0, ioctl.FlagsOnly(hidden))
	return info.Dev, err
}

func loadOwn(ctl *ioctl.Control, v volume) error {
	return ctl.Load(ioctl.ID{Name: v.name}, 0, []ioctl.Spec{v.own})
}

func dropParts(ctl *ioctl.Control, v volume) error {
	for _, part := range []string{"-image", "-cow", "-real"} {
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			_, err := ctl.Remove(ioctl.ID{Name: v.name + part}, 0, ioctl.FlagsOnly(hidden))
			if errors.Is(err, unix.EBUSY) && time.Now().Before(end) {
				continue // udev looks at it
			}
			if err != nil {
				return err
			}
			break
		}
	}
	return v.wipe()
}

// bare runs floor.c.
func bare(what, expedited string, vs []volume) (own report.Own, err error) {
	var fronts, images, dirs []string
	for _, v := range vs {
		fronts, images, dirs = append(fronts, v.name), append(images, v.name+"-image"), append(dirs, v.dir)
	}
	args := append([]string{what, expedited, strconv.Itoa(len(vs))}, fronts...)
	if what == "cut" {
		args = append(append(args, images...), dirs...)
	}
	text, err := output(os.Getenv("DMSNAP_FLOOR"), args...)
	if err == nil {
		own.WindowUS, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	}
	return own, err
}
