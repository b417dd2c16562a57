// Package report is what the benchmark of the window measures and how it is shown. Pure: no clock, no kernel.
package report

import (
	"slices"
	"strings"
	"time"
)

// Methods by name, in the order of the tables. Dmsnap is compared with LVM and with Expedited.
const (
	Dmsnap    = "dmsnap"
	Crash     = "dmsnap crash" // --consistency crash: nothing is frozen
	LVM       = "lvm"
	Dmsetup   = "dmsetup"
	Floor     = "floor"
	Expedited = "floor expedited"
	Nothing   = "nothing"
)

// Operations.
const (
	Create = "create"
	Remove = "remove"
)

// Sample is one operation.
type Sample struct {
	FS      string `json:"fs"`
	Volumes int    `json:"volumes"`
	Method  string `json:"method"`
	Op      string `json:"op"`
	Round   int    `json:"round"`
	GapUS   int64  `json:"gap_us"`  // longest time between two writes, of all writers
	WallUS  int64  `json:"wall_us"` // of the whole command
	Own
}

// Own is what a program says of itself; zero if it says nothing.
type Own struct {
	WindowUS int64  `json:"window_us,omitempty"`
	BeforeUS int64  `json:"before_us,omitempty"` // from the command's start to the window
	AfterUS  int64  `json:"after_us,omitempty"`
	Steps    []Step `json:"steps,omitempty"`
}

// Step is one of a receipt.
type Step struct {
	Step string `json:"step"`
	AtUS int64  `json:"at_us"`
	US   int64  `json:"us"`
}

// kind is a step without its names, so that those of several volumes come together.
func (s Step) kind() string {
	action, rest, _ := strings.Cut(s.Step, " ")
	switch {
	case action != "resume":
		return action
	case strings.HasPrefix(rest, "dmsnap-"):
		return "resume image"
	}
	return "resume front"
}

// stats are of some durations in microseconds.
type stats struct{ median, p90, p99 time.Duration }

func statsOf(us []int64) stats {
	if len(us) == 0 {
		return stats{}
	}
	us = slices.Sorted(slices.Values(us))
	at := func(percent int) time.Duration {
		i := (len(us)*percent + 99) / 100 // nearest rank
		return time.Duration(us[max(i, 1)-1]) * time.Microsecond
	}
	return stats{at(50), at(90), at(99)}
}

// series are the samples of one operation on one filesystem.
type series []Sample

func (s series) of(volumes int, method, op string) (out series) {
	for _, x := range s {
		if x.Volumes == volumes && x.Method == method && x.Op == op {
			out = append(out, x)
		}
	}
	return out
}

func (s series) stats(field func(Sample) int64) stats {
	us := make([]int64, len(s))
	for i, x := range s {
		us[i] = field(x)
	}
	return statsOf(us)
}

func gap(s Sample) int64    { return s.GapUS }
func wall(s Sample) int64   { return s.WallUS }
func window(s Sample) int64 { return s.WindowUS }
func beyond(s Sample) int64 { return s.GapUS - s.WindowUS }
