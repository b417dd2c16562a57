package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dmsnap/dmsnap/dm"
)

// clean makes text from outside (paths, labels) fit for one line of a terminal.
func clean(s string) string {
	odd := func(r rune) bool { return !strconv.IsPrint(r) || r == utf8.RuneError }
	if strings.IndexFunc(s, odd) < 0 {
		return s
	}
	q := strconv.Quote(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// message is the text of an error on one line; joined errors have several.
func message(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// orDash stands for an unknown or empty value in a table.
func orDash[T ~string](s T) string {
	if s == "" {
		return "-"
	}
	return clean(string(s))
}

// list joins for people.
func list(items []string) string { return orDash(strings.Join(items, ", ")) }

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// bytesText gives a size with three digits at most, in powers of 1024.
func bytesText(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"} {
		f /= 1024
		if f < 1023.5 {
			break
		}
	}
	if f < 9.95 && f != float64(int(f)) {
		return fmt.Sprintf("%.1f %s", f, unit)
	}
	return fmt.Sprintf("%.0f %s", f, unit)
}

// sizeText gives the size of something that has one, unless it is unknown.
func sizeText(n uint64) string {
	if n == 0 {
		return "-"
	}
	return bytesText(n)
}

// deviceText gives a path with its major:minor, as far as they are known.
func deviceText(path string, devno dm.DevNo) string {
	if devno == (dm.DevNo{}) {
		return orDash(path)
	}
	return fmt.Sprintf("%s (%s)", orDash(path), devno)
}

// percent gives used/size; a part that is used at all is never shown as 0.
func percent(used, size uint64) string {
	if size == 0 {
		return "-"
	}
	p := float64(used) * 100 / float64(size)
	if p > 0 && p < 1 {
		return "<1%"
	}
	return fmt.Sprintf("%d%%", int(p))
}

func microText(d time.Duration) string { return d.Truncate(time.Microsecond).String() }

func labelText(labels map[string]string) string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, k+"="+labels[k])
	}
	return list(pairs)
}
