package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dmsnap/dmsnap/e2e/guest/bench/report"
	"github.com/dmsnap/dmsnap/ioctl"
)

// How much there is on the host when costs are measured.
const (
	manySets    = 500
	manyForeign = 1000
	extent      = 256 // sectors of each origin and store
)

const stateDir = "/var/lib/dmsnap"

// cost measures what the commands take from a host that has nothing, many devices of others, or many sets.
func cost(runs int, hostLoop time.Duration, disks []string) (err error) {
	here := report.Loop()
	fmt.Printf("the same loop of system calls took %s ms here, %s ms on the host: %.1f times\n", report.MS(here), report.MS(hostLoop), float64(here)/float64(hostLoop))
	scaled := func(what string, d time.Duration) {
		fmt.Printf("%s: %s ms here, about %s ms at the host's speed\n", what, report.MS(d), report.MS(time.Duration(float64(d)*float64(hostLoop)/float64(here))))
	}
	help, err := median(runs, "--help")
	if err != nil {
		return err
	}
	scaled("--help", help)
	ctl, err := ioctl.Host().OpenControl()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ctl.Close()) }()
	h := &crowd{ctl: ctl, origin: disks[0], store: disks[1]}
	defer func() { err = errors.Join(err, h.disperse()) }()
	for _, n := range []int{1, 2, 8} {
		if err := h.operations(n, "alone"); err != nil {
			return err
		}
	}
	for i := range manyForeign {
		if err := h.add(fmt.Sprintf("foreign%d", i), "", ioctl.Spec{Length: extent, Type: "zero"}); err != nil {
			return err
		}
	}
	if err := h.operations(2, fmt.Sprintf("beside %d devices of others", manyForeign)); err != nil {
		return err
	}
	if err := h.sets(manySets); err != nil {
		return err
	}
	list, err := median(runs, "list", "--json")
	if err != nil {
		return err
	}
	scaled(fmt.Sprintf("list of %d sets, %d devices of others", manySets, manyForeign), list)
	return nil
}

// median runs a command of dmsnap again and again; the first run only warms up.
func median(runs int, args ...string) (time.Duration, error) {
	var took []time.Duration
	for range runs + 1 {
		start := time.Now()
		if _, err := output(os.Getenv("DMSNAP_BIN"), args...); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
	}
	took = slices.Sorted(slices.Values(took[1:]))
	return took[len(took)/2], nil
}

// crowd is the devices of a host, in the order in which they were made.
type crowd struct {
	ctl           *ioctl.Control
	origin, store string // disks
	names         []string
}

func (h *crowd) add(name, uuid string, spec ioctl.Spec) error {
	if _, err := h.ctl.Create(name, uuid, 0, ioctl.DevNo{}); err != nil {
		return err
	}
	h.names = append(h.names, name)
	if err := h.ctl.Load(ioctl.ID{Name: name}, 0, []ioctl.Spec{spec}); err != nil {
		return err
	}
	_, err := h.ctl.Resume(ioctl.ID{Name: name}, 0, ioctl.FlagsOnly(hidden))
	return err
}

// disperse removes all, the last made first.
func (h *crowd) disperse() error {
	var errs []error
	for _, name := range slices.Backward(h.names) {
		_, err := h.ctl.Remove(ioctl.ID{Name: name}, 0, ioctl.FlagsOnly(hidden))
		errs = append(errs, err)
		if err := os.Remove("/dev/mapper/" + name); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, os.RemoveAll(stateDir))...)
}

// operations counts what a create and a remove of n volumes ask of the kernel, and shows what memory they take.
func (h *crowd) operations(n int, where string) error {
	args := []string{"create", "--name", "counted", "--size", "1m", "-q"}
	for i := range n {
		origin, store := fmt.Sprintf("origin-%d-%d", len(h.names), i), fmt.Sprintf("cow-%d-%d", len(h.names), i)
		for name, disk := range map[string]string{origin: h.origin, store: h.store} {
			if err := h.add(name, "", ioctl.Spec{Length: mib, Type: "linear", Params: fmt.Sprintf("%s %d", disk, i*mib)}); err != nil {
				return err
			}
			if err := node(h.ctl, name); err != nil {
				return err
			}
		}
		args = append(args, "/dev/mapper/"+origin, "--store", "/dev/mapper/"+origin+"=/dev/mapper/"+store)
	}
	var memory, ioctls [2]int64
	for i, args := range [][]string{args, {"remove", "counted"}, args, {"remove", "counted"}} {
		var err error
		if i < 2 {
			memory[i], err = resident(args)
		} else {
			ioctls[i-2], err = counted(args)
		}
		if err != nil {
			return err
		}
	}
	for i, what := range []string{"create", "remove"} {
		fmt.Printf("%s, %d volume(s), %s: %d ioctls, tool and guard at most %.1f MiB each\n", what, n, where, ioctls[i], float64(memory[i])/(1<<20))
	}
	return nil
}

// node makes what nobody else makes without udev.
func node(ctl *ioctl.Control, name string) error {
	info, err := ctl.Status(ioctl.ID{Name: name})
	if err != nil {
		return err
	}
	err = ioctl.Host().Mknod("/dev/mapper/"+name, syscall.S_IFBLK|0o600, info.Dev)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

// resident is the memory of the larger of the two processes, the tool and its guard. They share the program's own pages.
func resident(args []string) (int64, error) {
	cmd := exec.Command(os.Getenv("DMSNAP_BIN"), args...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, text)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, errors.New("no resource usage")
	}
	return int64(usage.Maxrss) << 10, nil // getrusage(2): the larger of a process and the children it waited for, KiB
}

// counted is the number of ioctls of all processes.
func counted(args []string) (int64, error) {
	log := filepath.Join(os.TempDir(), "ioctls")
	defer os.Remove(log)
	_, err := output("strace", append([]string{"-f", "-qq", "-e", "trace=ioctl", "-o", log, os.Getenv("DMSNAP_BIN")}, args...)...)
	if err != nil {
		return 0, err
	}
	lines, err := os.ReadFile(log)
	return int64(bytes.Count(lines, []byte("ioctl("))), err
}

// sets makes what that many sets are made of. Their records are those of one that dmsnap itself made, with other names.
func (h *crowd) sets(n int) error {
	const name, volume = "template", "torigin"
	for part, disk := range map[string]string{volume: h.origin, "tcow": h.store} {
		if err := h.add(part, "", ioctl.Spec{Length: mib, Type: "linear", Params: disk + " 0"}); err != nil {
			return err
		}
		if err := node(h.ctl, part); err != nil {
			return err
		}
	}
	tool := os.Getenv("DMSNAP_BIN")
	if _, err := output(tool, "create", "-q", "--name", name, "/dev/mapper/"+volume, "--store", "/dev/mapper/tcow"); err != nil {
		return err
	}
	file := filepath.Join(stateDir, "sets", name+".json")
	record, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if _, err := output(tool, "remove", name); err != nil {
		return err
	}
	id := regexp.MustCompile("[0-9a-f]{32}").FindString(string(record))
	for i := range n {
		set, origin, newID := fmt.Sprintf("set%d", i), fmt.Sprintf("vol%d", i), fmt.Sprintf("%032x", i+1)
		if err := h.set(set, origin, newID); err != nil {
			return err
		}
		text := strings.NewReplacer(id, newID, name, set, volume, origin).Replace(string(record))
		if err := os.WriteFile(filepath.Join(stateDir, "sets", set+".json"), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// set makes the devices of one with one volume, by the names and uuids of docs/architecture.md.
func (h *crowd) set(name, origin, id string) error {
	own := ioctl.Spec{Length: extent, Type: "linear", Params: fmt.Sprintf("%s %d", h.origin, len(h.names)*extent)}
	store := ioctl.Spec{Length: extent, Type: "linear", Params: fmt.Sprintf("%s %d", h.store, len(h.names)*extent)}
	base, cow := "dmsnap-base-"+origin, "dmsnap-store-"+name+"-"+origin
	err := errors.Join(h.add(base, "DMSNAP-"+id+"-base", own), h.add(cow, "DMSNAP-"+id+".0-store", store))
	if err != nil {
		return err
	}
	baseInfo, err := h.ctl.Status(ioctl.ID{Name: base})
	if err != nil {
		return err
	}
	cowInfo, err := h.ctl.Status(ioctl.ID{Name: cow})
	if err != nil {
		return err
	}
	image := ioctl.Spec{Length: extent, Type: "snapshot", Params: fmt.Sprintf("%v %v N 8", baseInfo.Dev, cowInfo.Dev)}
	front := ioctl.Spec{Length: extent, Type: "snapshot-origin", Params: baseInfo.Dev.String()}
	return errors.Join(h.add("dmsnap-"+name+"-"+origin, "DMSNAP-"+id+".0-image", image), h.add(origin, "", front))
}
