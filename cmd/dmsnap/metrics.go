package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

// metrics is what a monitor knows, for Prometheus: its text format, version
// 0.0.4. It is safe for concurrent use.
type metrics struct {
	mu     sync.Mutex
	sets   []dm.Set
	looked time.Time
	events map[dm.EventKind]int
}

func (m *metrics) set(sets []dm.Set, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sets, m.looked = sets, now
}

func (m *metrics) count(e dm.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.events == nil {
		m.events = map[dm.EventKind]int{}
	}
	m.events[e.Kind]++
}

// write puts all metrics out.
func (m *metrics) write(w io.Writer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	perVolume := func(name, help string, value func(dm.Volume) *uint64) {
		metric(w, name, "gauge", help)
		for _, s := range m.sets {
			for _, v := range s.Volumes {
				if n := value(v); n != nil {
					fmt.Fprintf(w, "%s{%s} %d\n", name, labels("set", s.Name, "volume", v.Name), *n)
				}
			}
		}
	}
	perVolume("dmsnap_store_size_bytes", "Size of the exception store.", func(v dm.Volume) *uint64 { return &v.Store.SizeBytes })
	perVolume("dmsnap_store_used_bytes", "Used part of the exception store, metadata included.", func(v dm.Volume) *uint64 { return v.Store.UsedBytes })
	perVolume("dmsnap_store_needed_bytes", "Size at which the exception store cannot overflow.", func(v dm.Volume) *uint64 { return &v.Store.NeededBytes })
	metric(w, "dmsnap_volume_state", "gauge", "1 for the current state of the volume.")
	for _, s := range m.sets {
		for _, v := range s.Volumes {
			fmt.Fprintf(w, "dmsnap_volume_state{%s} 1\n", labels("set", s.Name, "volume", v.Name, "state", string(v.State)))
		}
	}
	metric(w, "dmsnap_set_created_timestamp_seconds", "gauge", "When the snapshot was taken.")
	for _, s := range m.sets {
		if s.Created != nil {
			fmt.Fprintf(w, "dmsnap_set_created_timestamp_seconds{%s} %d\n", labels("set", s.Name), s.Created.Unix())
		}
	}
	metric(w, "dmsnap_events_total", "counter", "Events since the monitor started.")
	for _, event := range slices.Sorted(maps.Keys(m.events)) {
		fmt.Fprintf(w, "dmsnap_events_total{%s} %d\n", labels("event", string(event)), m.events[event])
	}
	metric(w, "dmsnap_monitor_look_timestamp_seconds", "gauge", "Time of the last complete check.")
	fmt.Fprintf(w, "dmsnap_monitor_look_timestamp_seconds %d\n", m.looked.Unix())
}

func metric(w io.Writer, name, kind, help string) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// labels joins names and values in turn.
func labels(pairs ...string) string {
	var all []string
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, pairs[i]+`="`+labelEscapes.Replace(strings.ToValidUTF8(pairs[i+1], "\uFFFD"))+`"`)
	}
	return strings.Join(all, ",")
}

// save writes the metrics to a file. Without a path it does nothing.
func (m *metrics) save(path string) error {
	if path == "" {
		return nil
	}
	var text bytes.Buffer
	m.write(&text)
	return writeWhole(path, 0o644, text.Bytes()) // the collector is another user
}

// writeWhole writes a file, whole or not at all.
func writeWhole(path string, mode os.FileMode, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".dmsnap-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
