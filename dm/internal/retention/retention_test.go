package retention

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // for machines that have none
)

func rules(t testing.TB, text string) []Rule {
	t.Helper()
	r, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestParse(t *testing.T) {
	if got := fmt.Sprint(rules(t, " weekly:4  hourly:24 daily:7")); got != "[hourly:24 daily:7 weekly:4]" {
		t.Error(got)
	}
	for _, text := range []string{"", "daily", "daily:", "daily:0", "daily:-1", "daily:x", "nightly:3", "daily:1 daily:2", ":1"} {
		if r, err := Parse(text); err == nil {
			t.Errorf("%q is %v", text, r)
		}
	}
}

// moments are items by their times, which name them.
func moments(t *testing.T, zone *time.Location, texts ...string) (items []Item) {
	t.Helper()
	for _, text := range texts {
		at, err := time.ParseInLocation("2006-01-02 15:04", text, zone)
		if err != nil {
			if at, err = time.Parse("2006-01-02 15:04Z", text); err != nil {
				t.Fatal(err)
			}
		}
		items = append(items, Item{Name: text, Time: at.In(zone)})
	}
	return items
}

func kept(items []Item, verdicts []Verdict) (names []string) {
	for i, v := range verdicts {
		if v.Keep {
			names = append(names, items[i].Name)
		}
	}
	return names
}

// TestDecide: the last name of a row's sets that stay is not the newest in all rows.
func TestDecide(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		keep, now string
		sets      []string
		want      []string
	}{
		"no set":                     {"daily:7", "2026-11-22 03:00", nil, nil},
		"the newest of each day":     {"daily:7", "2026-11-22 23:00", []string{"2026-11-21 03:00", "2026-11-21 15:00", "2026-11-22 03:00"}, []string{"2026-11-21 15:00", "2026-11-22 03:00"}},
		"midnight begins a day":      {"daily:2", "2026-11-22 23:00", []string{"2026-11-20 23:59", "2026-11-21 00:00", "2026-11-21 23:59", "2026-11-22 00:00"}, []string{"2026-11-21 23:59", "2026-11-22 00:00"}},
		"days without a set are not": {"daily:3", "2026-11-22 23:00", []string{"2026-09-01 03:00", "2026-10-01 03:00", "2026-11-01 03:00", "2026-11-22 03:00"}, []string{"2026-10-01 03:00", "2026-11-01 03:00", "2026-11-22 03:00"}},
		"after a long pause":         {"hourly:2 daily:2", "2027-11-22 23:00", []string{"2026-11-20 03:00", "2026-11-21 03:00", "2026-11-22 03:00"}, []string{"2026-11-21 03:00", "2026-11-22 03:00"}},
		"one rule is enough":         {"daily:1 weekly:2", "2026-11-22 23:00", []string{"2026-11-14 03:00", "2026-11-15 03:00", "2026-11-21 03:00", "2026-11-22 03:00"}, []string{"2026-11-15 03:00", "2026-11-22 03:00"}},
		"a week begins on monday":    {"weekly:2", "2026-11-23 23:00", []string{"2026-11-15 23:59", "2026-11-16 00:00", "2026-11-22 23:59", "2026-11-23 00:00"}, []string{"2026-11-22 23:59", "2026-11-23 00:00"}},
		"a week over the new year":   {"weekly:9", "2027-01-09 23:00", []string{"2026-12-28 03:00", "2026-12-31 03:00", "2027-01-01 03:00", "2027-01-03 03:00", "2027-01-04 03:00"}, []string{"2027-01-03 03:00", "2027-01-04 03:00"}},
		"months and years":           {"monthly:2 yearly:2", "2027-01-09 23:00", []string{"2025-06-30 03:00", "2026-11-30 03:00", "2026-12-31 03:00", "2027-01-01 03:00"}, []string{"2026-12-31 03:00", "2027-01-01 03:00"}},
		"last":                       {"last:2", "2026-11-22 23:00", []string{"2026-11-22 03:00", "2026-11-22 03:01", "2026-11-22 03:02"}, []string{"2026-11-22 03:01", "2026-11-22 03:02"}},
		// On 2026-10-25 at 03:00 the clock is set back to 02:00: 02:30 comes twice, an hour apart.
		"the hour that comes twice": {"hourly:9", "2026-10-25 23:00", []string{"2026-10-25 00:10Z", "2026-10-25 00:30Z", "2026-10-25 01:30Z"}, []string{"2026-10-25 00:30Z", "2026-10-25 01:30Z"}},
		"a day of 25 hours":         {"daily:2", "2026-10-26 12:00", []string{"2026-10-24 21:59Z", "2026-10-24 22:00Z", "2026-10-25 22:59Z", "2026-10-25 23:00Z"}, []string{"2026-10-25 22:59Z", "2026-10-25 23:00Z"}},
		// On 2026-03-29 at 02:00 it is set to 03:00.
		"the hour that is missing": {"hourly:9", "2026-03-29 23:00", []string{"2026-03-29 00:59Z", "2026-03-29 01:00Z"}, []string{"2026-03-29 00:59Z", "2026-03-29 01:00Z"}},
		"a day of 23 hours":        {"daily:1", "2026-03-29 23:00", []string{"2026-03-28 22:59Z", "2026-03-28 23:00Z", "2026-03-29 21:00Z"}, []string{"2026-03-29 21:00Z"}},
		// The clock was a year ahead, and is right again.
		"set back": {"last:1", "2026-11-22 23:00", []string{"2027-11-20 03:00", "2027-11-21 03:00", "2026-11-22 03:00", "2026-11-21 03:00"}, []string{"2027-11-20 03:00", "2027-11-21 03:00", "2026-11-22 03:00"}},
	} {
		t.Run(name, func(t *testing.T) {
			items := moments(t, berlin, c.sets...)
			got := Decide(items, rules(t, c.keep), moments(t, berlin, c.now)[0].Time)
			if !slices.Equal(kept(items, got), c.want) {
				t.Errorf("stays %q, want %q\n%+v", kept(items, got), c.want, got)
			}
		})
	}
}

// TestDecideByState: what must stay does, what is lost goes and drives no good one out.
func TestDecideByState(t *testing.T) {
	items := moments(t, time.UTC, "2026-11-20 01:00", "2026-11-20 02:00", "2026-11-21 01:00", "2026-11-22 01:00", "2026-11-22 02:00", "2026-11-22 03:00")
	items[0].Stays = "it is on hold"
	items[4].Lost = "its image is lost"
	items[5].Stays, items[5].Passing = "its lease has not ended", true
	got := Decide(items, rules(t, "daily:1"), time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC))
	want := []Verdict{
		{true, "it is on hold"},
		{false, "daily: older than the last 1"},
		{false, "daily: older than the last 1"},
		{true, "daily 1 of 1: 2026-11-22"},
		{false, "its image is lost"},
		{true, "its lease has not ended"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestDecideIsStable: a series that is pruned after each new set has, at any time, what
// the rules keep of all that ever was.
func TestDecideIsStable(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	all := rules(t, "last:2 hourly:5 daily:4 weekly:3 monthly:2")
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var ever, series []Item
	for n := range 600 {
		now = now.Add(time.Duration(random.ExpFloat64() * float64(5*time.Hour)))
		item := Item{Name: fmt.Sprint(n), Time: now}
		ever, series = append(ever, item), append(series, item)
		var left []Item
		for i, v := range Decide(series, all, now) {
			if v.Why == "" {
				t.Fatalf("nothing is said of %s", series[i].Name)
			}
			if v.Keep {
				left = append(left, series[i])
			}
		}
		series = left
		var names []string
		for _, i := range series {
			names = append(names, i.Name)
		}
		if want := kept(ever, Decide(ever, all, now)); !slices.Equal(names, want) {
			t.Fatalf("after %s: %s, want %s", now, strings.Join(names, " "), strings.Join(want, " "))
		}
	}
}
