package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/dmsnap/dmsnap/ioctl"
)

// guard kills the tool while its origin is frozen and suspended, and prints how long it takes until a write comes through:
// the guard's reaction, and the write.
func guard(deaths int, disks []string) (err error) {
	volumes, err := makeVolumes(1, disks[0], disks[1])
	defer func() { err = errors.Join(err, dropVolumes(disks[0], disks[1])) }()
	if err != nil {
		return err
	}
	v := volumes[0]
	defer func() { err = errors.Join(err, v.unmount()) }()
	if err := v.format("ext4"); err != nil {
		return err
	}
	var took []time.Duration
	missed := 0
	for len(took) < deaths && missed < 10*deaths {
		d, died, err := v.death()
		if err != nil {
			return err
		}
		if !died { // it was quicker
			missed++
			continue
		}
		took = append(took, d)
		fmt.Fprintf(os.Stderr, "guard: %d of %d\n", len(took), deaths)
	}
	if len(took) == 0 {
		return errors.New("the tool was never caught in its window")
	}
	slices.Sort(took)
	fmt.Printf("death to the first write that comes through, %d deaths between suspend and resume (%d missed):\n", len(took), missed)
	fmt.Printf("  median %v, worst %v, best %v\n", took[len(took)/2], took[len(took)-1], took[0])
	return nil
}

// death is one life of the tool, from its start until a write came through after it.
func (v volume) death() (took time.Duration, died bool, err error) {
	load, err := startLoad([]volume{v})
	if err != nil {
		return 0, false, err
	}
	defer func() { err = errors.Join(err, load.stop(), v.restore()) }()
	if err := load.await(5); err != nil {
		return 0, false, err
	}
	tool := exec.Command(os.Getenv("DMSNAP_BIN"), "create", v.device, "--name", "bench", "--store", v.store)
	if err := tool.Start(); err != nil {
		return 0, false, err
	}
	ended := make(chan struct{})
	go func() {
		_ = tool.Wait() // how it ended is asked later
		close(ended)
	}()
	caught, err := v.suspended(ended)
	if err != nil || !caught {
		<-ended
		return 0, false, err
	}
	start := time.Now()
	if err := tool.Process.Kill(); err != nil {
		return 0, false, err
	}
	if err := load.await(1); err != nil {
		return 0, false, err
	}
	took = load.writers[0].first(start).Sub(start)
	<-ended
	return took, tool.ProcessState.Sys().(syscall.WaitStatus).Signaled(), nil
}

// suspended waits until the origin is, and tells whether that came before the end of the tool.
func (v volume) suspended(ended <-chan struct{}) (bool, error) {
	stat, err := ioctl.Host().Stat(v.device)
	if err != nil {
		return false, err
	}
	file, err := os.Open(filepath.Join("/sys/dev/block", stat.Rdev.String(), "dm/suspended"))
	if err != nil {
		return false, err
	}
	defer file.Close()
	var b [1]byte
	for !over(ended) {
		if _, err := file.ReadAt(b[:], 0); err != nil {
			return false, err
		}
		if b[0] == '1' {
			return true, nil
		}
	}
	return false, nil
}

// restore leads to the state before, whatever became of the tool.
func (v volume) restore() error {
	_, err := output(os.Getenv("DMSNAP_BIN"), "recover")
	if _, shown := output(os.Getenv("DMSNAP_BIN"), "show", "bench"); shown == nil {
		_, removed := output(os.Getenv("DMSNAP_BIN"), "remove", "bench")
		err = errors.Join(err, removed)
	}
	return err
}

// first is when the first write after an instant was acknowledged.
func (w *writer) first(after time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ack := range w.acks {
		if ack.After(after) {
			return ack
		}
	}
	return after
}
