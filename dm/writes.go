package dm

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/targets"
)

// loadMeter finds out how fast devices are written to.
type loadMeter struct {
	read   *stack.Reader
	sample time.Duration
	rates  map[targets.DevNo]uint64 // found so far
}

// sampleRate is the rate at which a device is written to. An operation that finds that
// it needs another lock looks again, and does not wait for the sample again.
func (m *loadMeter) sampleRate(dev targets.DevNo, chunk targets.Sectors) (rate uint64, err error) {
	if rate, known := m.rates[dev]; known {
		return rate, nil
	}
	first, err := readWrites(m.read, dev)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	time.Sleep(m.sample)
	second, err := readWrites(m.read, dev)
	if err != nil {
		return 0, err
	}
	if took := time.Since(start); took >= m.sample {
		rate = second.sub(first).copyRate(took, chunk)
	}
	up, err := m.read.Uptime()
	// What a boot writes, or who makes the filesystem, says nothing of the next minutes.
	rate = max(rate, second.copyRate(max(up, leastUptime), chunk))
	if err == nil {
		m.rates[dev] = rate
	}
	return rate, err
}

// leastUptime is the shortest time over which the writes since boot are averaged.
const leastUptime = 10 * time.Minute

// writes are those a device has completed.
type writes struct{ count, sectors uint64 }

func (w writes) sub(o writes) writes { return writes{w.count - o.count, w.sectors - o.sectors} }

// copyRate is what copying for these writes takes of a store in a second, at most:
// each may be to a chunk of its own.
func (w writes) copyRate(in time.Duration, chunk targets.Sectors) uint64 {
	bytes := float64(max(w.sectors*512, w.count*chunk.Bytes()))
	if in <= 0 {
		return 0
	}
	return uint64(bytes / in.Seconds())
}

// readWrites reads a device's statistics (Documentation/block/stat.rst): the fifth
// field counts writes, the seventh their sectors.
func readWrites(read *stack.Reader, d targets.DevNo) (w writes, err error) {
	text, err := read.Statistics(d)
	fields := strings.Fields(text)
	if err == nil && len(fields) < 7 {
		err = fmt.Errorf("statistics of device %v: %q has fewer than 7 fields", d, text)
	}
	if err != nil {
		return w, err
	}
	if w.count, err = strconv.ParseUint(fields[4], 10, 64); err == nil {
		w.sectors, err = strconv.ParseUint(fields[6], 10, 64)
	}
	return w, err
}
