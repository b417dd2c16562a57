// Package leak finds what a test left behind in the running kernel: device-mapper devices, loops, mounts, frozen file
// systems, semaphores, device nodes, processes and descriptors. It only reads, except ThawAll.
package leak

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// State is what there is at one moment: one line for each thing, with the number of times it was seen.
type State map[string]int

type collector func(add func(line string)) error

// Take reads the state of the whole system, and the descriptors of this process.
func Take() (State, error) {
	return take(dmDevices, mapperNodes, loops, mounts, semaphores, processes, descriptors)
}

func take(collectors ...collector) (State, error) {
	state := State{}
	for _, collect := range collectors {
		if err := collect(func(line string) { state[line]++ }); err != nil {
			return nil, fmt.Errorf("leak check: %w", err)
		}
	}
	return state, nil
}

// Diff names, sorted, what after has more of than before.
func Diff(before, after State) []string {
	var lines []string
	for line, count := range after {
		if extra := count - before[line]; extra > 0 {
			lines = append(lines, "left behind: "+line)
		}
	}
	slices.Sort(lines)
	return lines
}

// Wait compares the present with before until nothing is left or the time is over: orphans and the kernel's own
// teardown finish a little after the program that caused them. The time udev needs is not in the limit: a program
// that does not wait for udev may leave it much to do.
func Wait(before State, limit time.Duration) []string {
	return wait(before, limit, takeSettled)
}

func wait(before State, limit time.Duration, look func() (State, error)) []string {
	var deadline time.Time
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		after, err := look()
		if err != nil {
			return []string{err.Error()}
		}
		if deadline.IsZero() {
			deadline = time.Now().Add(limit)
		}
		lines := Diff(before, after)
		if len(lines) == 0 || time.Now().After(deadline) {
			return lines
		}
	}
}

func takeSettled() (State, error) {
	if err := settle(); err != nil {
		return nil, err
	}
	return Take()
}

// settle waits for udev's queue where there is a udevd. It does not while a dm device is suspended, for udev may be
// reading from just that device.
func settle() error {
	if _, err := os.Stat("/run/udev/control"); err != nil {
		return nil
	}
	state, err := take(dmDevices)
	if err != nil {
		return err
	}
	for line := range state {
		if strings.HasSuffix(line, suspendedMark) {
			return nil
		}
	}
	text, err := exec.Command("udevadm", "settle", "--timeout=60").CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 {
		return nil // udev is still busy: what it holds shows in the comparison
	}
	if err != nil {
		return fmt.Errorf("udevadm settle: %w: %s", err, text)
	}
	return nil
}

// Check makes the test fail if it leaves anything behind. Outside a guest, where other programs come and go, it looks
// at this process's descriptors only. Not for parallel tests.
func Check(t testing.TB) {
	t.Helper()
	look := takeSettled
	if os.Getenv("DMSNAP_E2E") == "" {
		look = func() (State, error) { return take(descriptors) }
	}
	before, err := look()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, line := range wait(before, 5*time.Second, look) {
			t.Error(line)
		}
	})
}

// Lines lists the state, for people.
func (s State) Lines() []string { return slices.Sorted(maps.Keys(s)) }
