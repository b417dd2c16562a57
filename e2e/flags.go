package main

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/e2e/vm"
)

// guestFlags are common to all subcommands that start a machine.
type guestFlags struct {
	kernels []vm.Kernel
	disks   []vm.Disk
	memory  int
	timeout time.Duration
	udev    bool
	leaks   bool
	module  bool
}

func (g *guestFlags) register(set *flag.FlagSet) {
	set.Func("kernel", "kernel of the matrix, repeatable", func(name string) error {
		kernel, err := vm.FindKernel(name)
		g.kernels = append(g.kernels, kernel)
		return err
	})
	set.Func("disk", "SIZE[,bs=4096][,cache=unsafe] of a disk, repeatable", func(text string) error {
		disk, err := parseDisk(text)
		g.disks = append(g.disks, disk)
		return err
	})
	set.IntVar(&g.memory, "memory", 2048, "MiB of memory")
	set.DurationVar(&g.timeout, "timeout", g.timeout, "limit for the whole run")
	set.BoolVar(&g.leaks, "leaks", g.leaks, "fail when something is left behind; test always does")
	set.BoolVar(&g.module, "module", g.module, "compile the interposer module; DMSNAP_MODULE names it in the guest")
	set.BoolVar(&g.udev, "udev", g.udev, "run systemd-udevd in the guest")
}

func (g *guestFlags) options(kernel vm.Kernel) vm.Options {
	return vm.Options{Kernel: kernel, Disks: g.disks, MemoryMB: g.memory, Udev: g.udev}
}

// kernel returns the one kernel of a subcommand that runs on one.
func (g *guestFlags) kernel() (vm.Kernel, error) {
	switch len(g.kernels) {
	case 0:
		return vm.Kernels[0], nil
	case 1:
		return g.kernels[0], nil
	}
	return vm.Kernel{}, fmt.Errorf("one kernel at a time")
}

// matrix returns the kernels asked for, or those of a default run.
func (g *guestFlags) matrix() []vm.Kernel {
	if len(g.kernels) > 0 {
		return g.kernels
	}
	return vm.KernelsOf(vm.Always)
}

// packages are what the kernels take of the host besides what all do.
func (g *guestFlags) packages() []string {
	if slices.ContainsFunc(g.kernels, vm.Kernel.Foreign) {
		return []string{"qemu-system-arm"}
	}
	return nil
}

func parseDisk(text string) (vm.Disk, error) {
	size, rest, more := strings.Cut(text, ",")
	var disk vm.Disk
	var err error
	if disk.Size, err = parseSize(size); err != nil {
		return disk, err
	}
	for more {
		var option string
		option, rest, more = strings.Cut(rest, ",")
		switch key, value, _ := strings.Cut(option, "="); key {
		case "bs":
			disk.SectorSize, err = strconv.Atoi(value)
		case "cache":
			disk.Cache = value
		default:
			err = fmt.Errorf("unknown disk option %q", option)
		}
		if err != nil {
			return disk, err
		}
	}
	return disk, nil
}

// parseSize reads a number with an optional k, m, g or t.
func parseSize(text string) (int64, error) {
	shift := 0
	if text != "" {
		if i := strings.IndexByte("kmgt", text[len(text)-1]|0x20); i >= 0 {
			shift, text = 10*(i+1), text[:len(text)-1]
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || n > 1<<62>>shift {
		return 0, fmt.Errorf("not a size: %q", text)
	}
	return n << shift, nil
}
