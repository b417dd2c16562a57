package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

// filter has the flags that choose among existing sets.
type filter struct {
	Label     []string      `sep:"none" placeholder:"KEY[=VALUE]" help:"Only sets with this label; may be repeated, and all must match."`
	OlderThan time.Duration `placeholder:"DURATION" help:"Only sets taken longer ago than this (12h, 7d, 2w)."`
}

func (f filter) none() bool { return len(f.Label) == 0 && f.OlderThan == 0 }

func (f filter) check() error {
	if f.OlderThan < 0 {
		return fmt.Errorf("--older-than %s is negative", f.OlderThan)
	}
	return nil
}

// choose keeps the sets that match.
func (f filter) choose(sets []dm.Set, now time.Time) []dm.Set {
	return slices.DeleteFunc(slices.Clone(sets), func(s dm.Set) bool { return !f.matches(&s, now) })
}

// matches: of a set whose record is lost neither labels nor age are known.
func (f filter) matches(s *dm.Set, now time.Time) bool {
	for _, wanted := range f.Label {
		key, value, valued := strings.Cut(wanted, "=")
		if got, found := s.Labels[key]; !found || valued && got != value {
			return false
		}
	}
	return f.OlderThan == 0 || s.Created != nil && now.Sub(*s.Created) > f.OlderThan
}
