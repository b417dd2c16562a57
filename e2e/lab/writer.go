package lab

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Writer puts stamped records into a file or device in a ring of slots, one after the other, each on the medium before the next is
// begun. The file at any instant tells how many records were complete, and that none is missing, torn or out of order.
type Writer struct {
	files []*os.File
	slots int
	stop  chan struct{}
	done  sync.WaitGroup

	mu     sync.Mutex
	log    []stamp
	first  int // records before those of the log
	failed error
}

// stamp is the life of one record.
type stamp struct{ issued, acked time.Time }

const recordSize = 4096

// StartWriter begins to write. With several paths each record goes to all of them in order, on the medium of one before
// it is sent to the next.
func StartWriter(t *testing.T, slots int, paths ...string) *Writer {
	t.Helper()
	w := &Writer{slots: slots, stop: make(chan struct{})}
	for _, p := range paths {
		w.files = append(w.files, create(t, p, slots))
	}
	w.done.Go(w.run)
	t.Cleanup(func() { w.Stop(t) })
	return w
}

// create lays the slots out beforehand, so that writing changes data only.
func create(t *testing.T, path string, slots int) *os.File {
	t.Helper()
	if err := os.WriteFile(path, make([]byte, slots*recordSize), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_DIRECT|unix.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return f
}

func (w *Writer) run() {
	buf := Aligned(recordSize)
	for n := uint64(1); ; n++ {
		select {
		case <-w.stop:
			return
		default:
		}
		fill(buf, n)
		s := stamp{issued: time.Now()}
		w.mu.Lock()
		w.log = append(w.log, s)
		w.mu.Unlock()
		for _, f := range w.files {
			if _, err := f.WriteAt(buf, int64(n%uint64(w.slots))*recordSize); err != nil {
				w.mu.Lock()
				w.failed = err
				w.mu.Unlock()
				return
			}
		}
		w.mu.Lock()
		w.log[len(w.log)-1].acked = time.Now()
		w.mu.Unlock()
	}
}

// Stop ends the writing and fails the test if a write failed.
func (w *Writer) Stop(t *testing.T) {
	t.Helper()
	if w.stop == nil {
		return
	}
	close(w.stop)
	w.done.Wait()
	w.stop = nil
	for _, f := range w.files {
		f.Close()
	}
	if w.failed != nil {
		t.Errorf("the writer met an error: %v", w.failed)
	}
}

// WaitFor blocks until n more records are acknowledged: the writer is running.
func (w *Writer) WaitFor(t *testing.T, n int) {
	t.Helper()
	target := w.acked() + n
	for deadline := time.Now().Add(time.Minute); w.acked() < target; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the writer stands still")
		}
	}
}

func (w *Writer) acked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.log)
	if n > 0 && w.log[n-1].acked.IsZero() {
		n--
	}
	return w.first + n
}

// Forget gives back the memory of what was written until now: Bounds, Passed and Gap know later records only.
func (w *Writer) Forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.log); n > 0 {
		w.first, w.log = w.first+n-1, []stamp{w.log[n-1]} // the last may be under way
	}
}

// Bounds are the fewest and the most records an image cut between start and end may hold: all acknowledged before, and
// none issued after.
func (w *Writer) Bounds(start, end time.Time) (least, most uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, s := range w.log {
		if !s.acked.IsZero() && s.acked.Before(start) {
			least = uint64(w.first + i + 1)
		}
		if !s.issued.After(end) {
			most = uint64(w.first + i + 1)
		}
	}
	return least, most
}

// Expect fails the test unless an image cut in a window holds as many records as it may.
func (w *Writer) Expect(t *testing.T, name string, window Receipt, got uint64) {
	t.Helper()
	if least, most := w.Bounds(window.Start, window.End); got < least || got > most {
		t.Errorf("%s holds %d records; %d were acknowledged before the window, %d issued before its end", name, got, least, most)
	}
}

// Passed is how many records were issued and acknowledged within a span.
func (w *Writer) Passed(start, end time.Time) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.log {
		if s.issued.After(start) && s.acked.Before(end) && !s.acked.IsZero() {
			n++
		}
	}
	return n
}

// Check reads the ring in a file of an image, or at the start of a device, and returns how many records it holds. Every
// slot must have the newest record that belongs there.
func Check(t *testing.T, path string, slots int) uint64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, slots*recordSize)
	if _, err := io.ReadFull(f, b); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	newest, err := verify(b, slots)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return newest
}

func verify(b []byte, slots int) (newest uint64, err error) {
	if len(b) != slots*recordSize {
		return 0, fmt.Errorf("%d bytes, want %d", len(b), slots*recordSize)
	}
	numbers := make([]uint64, slots)
	for i := range numbers {
		n, ok := parse(b[i*recordSize : (i+1)*recordSize])
		if !ok {
			return 0, fmt.Errorf("slot %d is torn", i)
		}
		numbers[i] = n
		newest = max(newest, n)
	}
	for i, n := range numbers {
		if want := newestIn(uint64(i), newest, uint64(slots)); n != want {
			return 0, fmt.Errorf("slot %d has record %d, want %d: the newest is %d", i, n, want, newest)
		}
	}
	return newest, nil
}

// newestIn is the newest record of a slot when newest is the last one written; 0 if it has none yet.
func newestIn(slot, newest, slots uint64) uint64 {
	back := (newest%slots + slots - slot) % slots
	if back >= newest {
		return 0
	}
	return newest - back
}

// fill makes a record that tells its number in every 512-byte sector.
func fill(b []byte, n uint64) {
	for s := 0; s < len(b); s += 512 {
		binary.LittleEndian.PutUint64(b[s:], n)
		binary.LittleEndian.PutUint32(b[s+8:], crc32.ChecksumIEEE(b[s:s+8]))
	}
}

// parse reads a record: the same number in all sectors. A slot never written is 0.
func parse(b []byte) (n uint64, ok bool) {
	n = binary.LittleEndian.Uint64(b)
	for s := 0; s < len(b); s += 512 {
		if binary.LittleEndian.Uint64(b[s:]) != n {
			return 0, false
		}
		sum := binary.LittleEndian.Uint32(b[s+8:])
		if n != 0 && sum != crc32.ChecksumIEEE(b[s:s+8]) {
			return 0, false
		}
	}
	return n, true
}

// Aligned is memory for O_DIRECT: whole pages of its own.
func Aligned(n int) []byte {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	return b
}

// Free gives back what Aligned gave.
func Free(b []byte) {
	if err := unix.Munmap(b); err != nil {
		panic(err)
	}
}
