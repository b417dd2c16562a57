package dm

import (
	"context"
	"fmt"
	"time"

	"github.com/dmsnap/dmsnap/targets"
)

// counts are what a volume's store and origin had counted at one time.
type counts struct {
	at      time.Time
	used    *uint64 // bytes of the store
	written *uint64 // bytes to the origin since it was made
}

// measureLoads looks at the volumes of a set, waits, and looks again.
func (x *explainer) measureLoads(ctx context.Context, set *Set, sample time.Duration) ([]Load, error) {
	before := x.readCounters(set)
	after := before
	if sample > 0 {
		timer := time.NewTimer(sample)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
		}
		if now, err := x.s.sets.show(set.Name); err == nil && now.UUID == set.UUID && len(now.Volumes) == len(set.Volumes) {
			*set = *now
			after = x.readCounters(set)
		}
	}
	out := make([]Load, len(set.Volumes))
	for i, v := range set.Volumes {
		out[i] = compareCounts(before[i], after[i], set.Created, v.Store)
	}
	return out, nil
}

func (x *explainer) readCounters(set *Set) []counts {
	out := make([]counts, len(set.Volumes))
	for i, v := range set.Volumes {
		out[i] = counts{at: time.Now(), used: v.Store.UsedBytes}
		if w, err := readWrites(x.s.read, v.OriginDevno); err == nil {
			out[i].written = new(w.sectors * targets.SectorSize)
		}
	}
	return out
}

// compareCounts compares two counts. How fast a store fills is the larger of what it did
// just now and since the cut: a quiet second does not make it safe.
func compareCounts(before, after counts, cut *time.Time, s Store) (l Load) {
	l.WriteRate = rateOf(before.written, after.written, after.at.Sub(before.at))
	l.FillRate = rateOf(before.used, after.used, after.at.Sub(before.at))
	if cut != nil {
		zero := uint64(0)
		average := rateOf(&zero, after.used, after.at.Sub(*cut))
		if l.FillRate == nil || average != nil && *average > *l.FillRate {
			l.FillRate = average
		}
	}
	if l.FillRate != nil && *l.FillRate > 0 && s.SizeBytes >= *after.used {
		l.FullIn = l.FillRate.takes(s.SizeBytes - *after.used)
	}
	return l
}

// rateOf is bytes per second, nil if it cannot be known.
func rateOf(before, after *uint64, took time.Duration) *Rate {
	if before == nil || after == nil || took <= 0 || *after < *before {
		return nil
	}
	r := Rate(float64(*after-*before) / took.Seconds())
	return &r
}

// A store is a problem that is full to this share, or will be so soon.
const (
	crowded = 0.9
	soon    = 10 * time.Minute
)

func (x *explainer) addStore(v Volume, l Load) {
	if v.Store.UsedBytes == nil || v.Store.SizeBytes == 0 {
		return // it is lost; the state says why
	}
	used, size := *v.Store.UsedBytes, v.Store.SizeBytes
	f := Finding{Level: LevelOK, Topic: TopicStore, Volume: v.Name}
	f.Message = fmt.Sprintf("%s of %s of its store are used", Size{Bytes: used}, Size{Bytes: size})
	if v.State == StateBypassed {
		x.add(f) // nothing is copied into it any more
		return
	}
	f.Load = &l
	if l.FillRate != nil && *l.FillRate > 0 {
		f.Message += fmt.Sprintf(", %s more each second", Size{Bytes: uint64(max(*l.FillRate>>10, 1) << 10)})
	}
	if l.FullIn != nil {
		f.Message += fmt.Sprintf("; full in %v", *l.FullIn)
	}
	if size < v.SizeBytes && (float64(used) > crowded*float64(size) || l.FullIn != nil && *l.FullIn < soon) {
		f.Level, f.Hint = LevelProblem, "read what is needed and remove the set soon, or extend it; a full store loses the image, never the origin"
	}
	x.add(f)
}
