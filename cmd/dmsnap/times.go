package main

import (
	"fmt"
	"reflect"
	"time"

	"github.com/alecthomas/kong"
	"github.com/dmsnap/dmsnap/dm"
)

// timeText is a time for people, in their zone.
func timeText(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05 -0700")
}

// agoText is a time, and how long ago that is.
func agoText(t *time.Time, now time.Time) string {
	if t == nil {
		return "-"
	}
	return timeText(t) + ", " + ageText(t, now) + " ago"
}

func ageText(t *time.Time, now time.Time) string {
	if t == nil {
		return "-"
	}
	return shortly(max(0, now.Sub(*t)))
}

// leftText is how long a lease still lasts.
func leftText(l *dm.LeaseState, now time.Time) string {
	switch {
	case l == nil:
		return "-"
	case l.Held:
		return "on hold"
	case l.Expired:
		return "ended"
	case l.Until != nil:
		return shortly(max(0, l.Until.Sub(now)))
	}
	return orDash(l.Lease)
}

// shortly gives a time in its largest unit, as flags take it.
func shortly(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%dd", d/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// durationMapper reads the durations of flags.
type durationMapper struct{}

func (durationMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("duration", &text); err != nil {
		return err
	}
	d, err := dm.ParseDuration(text)
	if err == nil {
		target.SetInt(int64(d))
	}
	return err
}
