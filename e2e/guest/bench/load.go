package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// load keeps the volumes of one turn busy: a writer that measures on the first and on the last, the one frozen first
// and the one frozen last, and buffered writes to all.
type load struct {
	writers []*writer
	done    chan struct{}
	wait    sync.WaitGroup
	mu      sync.Mutex
	err     error
}

func startLoad(volumes []volume) (*load, error) {
	l := &load{done: make(chan struct{})}
	ends := volumes[:1]
	if len(volumes) > 1 {
		ends = append(volumes[:1:1], volumes[len(volumes)-1])
	}
	for _, v := range ends {
		w, err := newWriter(filepath.Join(v.dir, "ring"))
		if err != nil {
			return nil, errors.Join(err, l.stop())
		}
		l.writers = append(l.writers, w)
		l.wait.Go(func() { l.failed(w.run(l.done)) })
	}
	l.wait.Go(func() { l.failed(dirty(volumes, l.done)) })
	return l, nil
}

func (l *load) failed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = errors.Join(l.err, err)
}

func (l *load) stop() error {
	close(l.done)
	l.wait.Wait()
	for _, w := range l.writers {
		l.err = errors.Join(l.err, w.file.Close(), unix.Munmap(w.buf))
	}
	return l.err
}

// await waits until each writer has written n times more.
func (l *load) await(n int) error {
	for _, w := range l.writers {
		target := w.count() + n
		for deadline := time.Now().Add(time.Minute); w.count() < target; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				return errors.New("a writer stands still")
			}
		}
	}
	return nil
}

// gap is the longest time between two writes of one writer that overlaps a span.
func (l *load) gap(start, end time.Time) (longest time.Duration) {
	for _, w := range l.writers {
		longest = max(longest, w.gap(start, end))
	}
	return longest
}

// writer writes 4 KiB after 4 KiB, each on the medium before the next, and notes when.
type writer struct {
	file *os.File
	buf  []byte
	mu   sync.Mutex
	acks []time.Time
}

const (
	block = 4096
	slots = 64
)

func newWriter(path string) (*writer, error) {
	if err := os.WriteFile(path, make([]byte, slots*block), 0o600); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|unix.O_DIRECT|unix.O_SYNC, 0)
	if err != nil {
		return nil, err
	}
	if err := file.Sync(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	buf, err := unix.Mmap(-1, 0, block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &writer{file: file, buf: buf, acks: make([]time.Time, 0, 1<<16)}, nil
}

func (w *writer) run(done <-chan struct{}) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for n := int64(0); !over(done); n++ {
		if _, err := w.file.WriteAt(w.buf, n%slots*block); err != nil {
			return err
		}
		now := time.Now()
		w.mu.Lock()
		w.acks = append(w.acks, now)
		w.mu.Unlock()
	}
	return nil
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acks)
}

func (w *writer) gap(start, end time.Time) (longest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := 1; i < len(w.acks); i++ {
		if a, b := w.acks[i-1], w.acks[i]; b.After(start) && a.Before(end) {
			longest = max(longest, b.Sub(a))
		}
	}
	return longest
}

func over(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// dirty overwrites files through the page cache, one volume after the other, 16 MiB a second at most.
func dirty(volumes []volume, done <-chan struct{}) error {
	piece := make([]byte, 256<<10)
	tick := time.NewTicker(16 * time.Millisecond)
	defer tick.Stop()
	for n := 0; !over(done); n++ {
		path := filepath.Join(volumes[n%len(volumes)].dir, fmt.Sprintf("dirty%d", n/len(volumes)%8))
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		_, err = file.Write(piece)
		if err = errors.Join(err, file.Close()); err != nil {
			return err
		}
		<-tick.C
	}
	return nil
}
