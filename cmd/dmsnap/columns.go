package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

// column is one of the table that list prints.
type column struct {
	name string
	text func(s *dm.Set, now time.Time) string
	less func(a, b *dm.Set) int // nil: by the text
}

// usualColumns are those of list without -o.
const usualColumns = "name,state,origin,mounted,age,size,used,full-in,lease"

func columns() []column {
	return []column{
		{"name", func(s *dm.Set, _ time.Time) string { return setName(s) }, nil},
		{"state", func(s *dm.Set, _ time.Time) string { return conditionOf(s) }, nil},
		{"origin", func(s *dm.Set, _ time.Time) string { return list(originsOf(s)) }, nil},
		{"mounted", func(s *dm.Set, _ time.Time) string { return list(mountsOf(s)) }, nil},
		{"age", func(s *dm.Set, now time.Time) string { return ageText(s.Created, now) }, byAge},
		{"created", func(s *dm.Set, _ time.Time) string { return timeText(s.Created) }, func(a, b *dm.Set) int { return byTime(a.Created, b.Created) }},
		{"size", func(s *dm.Set, _ time.Time) string { return sizeText(imageBytes(s)) }, func(a, b *dm.Set) int { return cmp.Compare(imageBytes(a), imageBytes(b)) }},
		{"used", func(s *dm.Set, _ time.Time) string { return fullest(s.Volumes) }, func(a, b *dm.Set) int { return cmp.Compare(fillShare(a.Volumes), fillShare(b.Volumes)) }},
		{"store", func(s *dm.Set, _ time.Time) string { return sizeText(storeBytes(s)) }, func(a, b *dm.Set) int { return cmp.Compare(storeBytes(a), storeBytes(b)) }},
		{"full-in", func(s *dm.Set, _ time.Time) string { return fullInText(s) }, func(a, b *dm.Set) int { return cmp.Compare(fullIn(a), fullIn(b)) }},
		{"lease", func(s *dm.Set, now time.Time) string { return leftText(s.Lease, now) }, nil},
		{"consistency", consistencyText, nil},
		{"volumes", func(s *dm.Set, _ time.Time) string { return fmt.Sprint(len(s.Volumes)) }, func(a, b *dm.Set) int { return cmp.Compare(len(a.Volumes), len(b.Volumes)) }},
		{"persistent", func(s *dm.Set, _ time.Time) string { return yesNo(s.Persistent) }, nil},
		{"labels", func(s *dm.Set, _ time.Time) string { return labelText(s.Labels) }, nil},
		{"uuid", func(s *dm.Set, _ time.Time) string { return orDash(s.UUID) }, nil},
	}
}

func columnNames() string {
	var names []string
	for _, c := range columns() {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}

// pickColumns reads -o: names, or "+" and names to have them beside the usual ones.
func pickColumns(text string) (picked []column, err error) {
	if more, found := strings.CutPrefix(text, "+"); found {
		text = usualColumns + "," + more
	}
	for name := range strings.SplitSeq(text, ",") {
		c, err := columnNamed(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		picked = append(picked, c)
	}
	return picked, nil
}

func columnNamed(name string) (column, error) {
	all := columns()
	i := slices.IndexFunc(all, func(c column) bool { return c.name == strings.ToLower(name) })
	if i < 0 {
		return column{}, fmt.Errorf("no column is called %q: use %s", name, columnNames())
	}
	return all[i], nil
}

// sortSets sorts by a column, from large to small after a "-".
func sortSets(sets []dm.Set, by string, now time.Time) error {
	name, down := strings.CutPrefix(by, "-")
	c, err := columnNamed(name)
	if err != nil {
		return err
	}
	less := c.less
	if less == nil {
		less = func(a, b *dm.Set) int { return cmp.Compare(c.text(a, now), c.text(b, now)) }
	}
	slices.SortStableFunc(sets, func(a, b dm.Set) int {
		if down {
			return less(&b, &a)
		}
		return less(&a, &b)
	})
	return nil
}

// byAge has the newest first.
func byAge(a, b *dm.Set) int {
	if a.Created == nil || b.Created == nil {
		return byTime(a.Created, b.Created)
	}
	return byTime(b.Created, a.Created)
}

// byTime has those without a time last.
func byTime(a, b *time.Time) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return a.Compare(*b)
}

// conditionOf tells bookmarks from sets that have images.
func conditionOf(s *dm.Set) string {
	if s.Bookmark && s.State == dm.StateActive {
		return "bookmark"
	}
	return orDash(s.State)
}

func originsOf(s *dm.Set) (all []string) {
	for _, v := range s.Volumes {
		at := v.Origin
		if len(v.Mountpoints) > 0 {
			at = v.Mountpoints[0]
		}
		if at != "" {
			all = append(all, at)
		}
	}
	return all
}

func mountsOf(s *dm.Set) (all []string) {
	for _, v := range s.Volumes {
		all = append(all, v.ImageMounts...)
	}
	return all
}

func imageBytes(s *dm.Set) (sum uint64) {
	for _, v := range s.Volumes {
		sum += v.SizeBytes
	}
	return sum
}

func storeBytes(s *dm.Set) (sum uint64) {
	for _, v := range s.Volumes {
		sum += v.Store.SizeBytes
	}
	return sum
}

// fillShare is the share of the fullest store, -1 if none is known.
func fillShare(volumes []dm.Volume) float64 {
	most := -1.0
	for _, v := range volumes {
		if v.Store.UsedBytes != nil && v.Store.SizeBytes > 0 {
			most = max(most, float64(*v.Store.UsedBytes)/float64(v.Store.SizeBytes))
		}
	}
	return most
}

const never = time.Duration(1<<63 - 1)

func fullIn(s *dm.Set) time.Duration {
	least := never
	for _, v := range s.Volumes {
		if v.Store.FullIn != nil {
			least = min(least, *v.Store.FullIn)
		}
	}
	return least
}

func fullInText(s *dm.Set) string {
	if d := fullIn(s); d != never {
		return shortly(d)
	}
	return "-"
}

func consistencyText(s *dm.Set, _ time.Time) string {
	if s.Receipt == nil {
		return "-"
	}
	return orDash(s.Receipt.Consistency)
}
