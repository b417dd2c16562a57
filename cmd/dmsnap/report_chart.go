package main

import (
	"fmt"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

// Sizes of charts, in pixels.
const (
	chartWidth            = 480
	barLeft, barHeight    = 150, 18
	fillWidth, fillHeight = 260, 80
)

// windowChart is the time in which writers were blocked, one row for each volume.
type windowChart struct {
	Width, Height int
	Rows          []windowRow
	End           string // of the axis
}

type windowRow struct {
	Name, Text string
	Y, TextY   int
	Bars       []windowBar
}

// windowBar is a part of it; its class is a colour.
type windowBar struct {
	X, Width    float64
	Class, Text string
}

func newWindowChart(r *dm.Receipt) *windowChart {
	if r.Window <= 0 || len(r.Volumes) == 0 {
		return nil
	}
	c := &windowChart{Width: barLeft + chartWidth + 10, End: microText(r.Window)}
	for i, v := range r.Volumes {
		row := windowRow{Name: short(clean(v.Name)), Text: blockedText(&v), Y: i * (barHeight + 6), TextY: i*(barHeight+6) + 13}
		add := func(from, to time.Duration, class string) {
			if to > from {
				scale := float64(chartWidth) / float64(r.Window)
				row.Bars = append(row.Bars, windowBar{
					X: barLeft + float64(from)*scale, Width: max(float64(to-from)*scale, 1), Class: class,
					Text: fmt.Sprintf("%s from %s to %s", class, microText(from), microText(to)),
				})
			}
		}
		if v.Frozen != nil {
			add(*v.Frozen, v.Suspended, "frozen")
		}
		add(v.Suspended, v.Resumed, "suspended")
		if v.Thawed != nil {
			add(v.Resumed, *v.Thawed, "frozen")
		}
		c.Rows = append(c.Rows, row)
	}
	c.Height = len(c.Rows)*(barHeight+6) + 16
	return c
}

// fillChart is how full a store is: a line from the snapshot to now, and where it
// leads.
type fillChart struct {
	Width, Height          int
	NowX, NowY, EndX, EndY float64
	From, Now, End, Size   string
	Full                   bool // at the end of the forecast
}

// newFillChart needs the age of the set. What happened in between nobody recorded:
// the line is straight.
func newFillChart(s *dm.Store, age time.Duration) *fillChart {
	if s.UsedBytes == nil || s.SizeBytes == 0 || age <= 0 {
		return nil
	}
	c := &fillChart{Width: fillWidth, Height: fillHeight, From: "snapshot", Now: "now", Size: sizeText(s.SizeBytes)}
	ahead, then := age, *s.UsedBytes
	if s.FillRate != nil {
		then += uint64(float64(*s.FillRate) * ahead.Seconds())
	}
	if s.FullIn != nil && *s.FullIn <= 4*age {
		ahead, then, c.Full = *s.FullIn, s.SizeBytes, true
	}
	c.End = "in " + roughly(ahead.Round(time.Second))
	if c.Full {
		c.End = "full " + c.End
	}
	y := func(used uint64) float64 {
		return fillHeight * (1 - min(float64(used)/float64(s.SizeBytes), 1))
	}
	c.NowX = fillWidth * float64(age) / float64(age+ahead)
	c.NowY, c.EndX, c.EndY = y(*s.UsedBytes), fillWidth, y(then)
	return c
}
