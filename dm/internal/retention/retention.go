// Package retention decides which sets of a series stay.
//
// It is pure: [Decide] looks at nothing but its arguments. A rule such as daily:7 keeps
// the newest set of each of the last seven days that have one, so that days on which
// the machine was off use nothing up. A set stays if one rule keeps it.
package retention

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Period is what a rule keeps one set of.
type Period string

// The periods. Last is each set by itself.
const (
	Last    Period = "last"
	Hourly  Period = "hourly"
	Daily   Period = "daily"
	Weekly  Period = "weekly"
	Monthly Period = "monthly"
	Yearly  Period = "yearly"
)

// periods are all of them, the shortest first.
var periods = []Period{Last, Hourly, Daily, Weekly, Monthly, Yearly}

// Rule keeps the newest set of each of the last Count periods that have one.
type Rule struct {
	Period Period
	Count  int
}

// Parse reads rules such as "hourly:24 daily:7".
func Parse(text string) (rules []Rule, err error) {
	for _, word := range strings.Fields(text) {
		name, number, _ := strings.Cut(word, ":")
		count, err := strconv.Atoi(number)
		rule := Rule{Period(name), count}
		switch {
		case err != nil || count < 1:
			return nil, fmt.Errorf("keep rule %q is not PERIOD:NUMBER, such as daily:7", word)
		case !slices.Contains(periods, rule.Period):
			return nil, fmt.Errorf("keep rule %q: use last, hourly, daily, weekly, monthly or yearly", word)
		case slices.ContainsFunc(rules, func(r Rule) bool { return r.Period == rule.Period }):
			return nil, fmt.Errorf("keep rule %s is given twice", name)
		}
		rules = append(rules, rule)
	}
	if len(rules) == 0 {
		return nil, fmt.Errorf("no keep rule is given: write them like daily:7 weekly:4")
	}
	slices.SortFunc(rules, func(a, b Rule) int {
		return cmp.Compare(slices.Index(periods, a.Period), slices.Index(periods, b.Period))
	})
	return rules, nil
}

// String is what Parse reads.
func (r Rule) String() string { return fmt.Sprintf("%s:%d", r.Period, r.Count) }

// Item is a set. Its time is in the zone whose days and hours count.
type Item struct {
	Name string
	Time time.Time
	// Stays says why it stays whatever the rules say; "" if nothing does.
	Stays string
	// Lost says why it is good for nothing; "" if it is good.
	Lost string
	// Passing sets are about to go by themselves: no other goes for their sake.
	Passing bool
}

// Verdict is what is to become of a set, and why.
type Verdict struct {
	Keep bool
	Why  string
}

// Decide tells which of the items stay, in their order. The newest good one always does.
// One that is dated in the future stays too, and counts for nothing: when the clock
// was wrong and is right again, it must not drive out what is newer in truth.
func Decide(items []Item, rules []Rule, now time.Time) []Verdict {
	verdicts := make([]Verdict, len(items))
	var good []int // the newest first
	for i, item := range items {
		switch {
		case item.Stays != "":
			verdicts[i] = Verdict{true, item.Stays}
		case item.Lost != "":
			verdicts[i] = Verdict{false, item.Lost}
		case item.Time.After(now):
			verdicts[i] = Verdict{true, "it is dated in the future"}
		}
		if item.Lost == "" && !item.Passing && !item.Time.After(now) {
			good = append(good, i)
		}
	}
	slices.SortStableFunc(good, func(a, b int) int {
		return cmp.Or(items[b].Time.Compare(items[a].Time), strings.Compare(items[b].Name, items[a].Name))
	})
	reasons := map[int][]string{}
	for _, rule := range rules {
		rule.apply(items, good, func(i int, keep bool, why string) {
			switch {
			case keep && !verdicts[i].Keep && verdicts[i].Why == "":
				verdicts[i] = Verdict{true, why}
			case !keep:
				reasons[i] = append(reasons[i], why)
			}
		})
	}
	for n, i := range good {
		switch {
		case verdicts[i].Why != "":
		case n == 0:
			verdicts[i] = Verdict{true, "it is the newest"}
		default:
			verdicts[i].Why = strings.Join(reasons[i], "; ")
		}
	}
	return verdicts
}

// apply tells of each set whether the rule keeps it, and as what.
func (r Rule) apply(items []Item, good []int, tell func(i int, keep bool, why string)) {
	newest, period, count := 0, "", 0
	for n, i := range good {
		this := r.Period.of(items[i].Time)
		switch same := n > 0 && r.Period != Last && this == period; {
		case same && count <= r.Count:
			tell(i, false, fmt.Sprintf("%s: %s is newer in %s", r.Period, items[newest].Name, period))
			continue
		case !same:
			newest, period = i, this
			count++
		}
		if count > r.Count {
			tell(i, false, fmt.Sprintf("%s: older than the last %d", r.Period, r.Count))
		} else {
			tell(i, true, fmt.Sprintf("%s %d of %d: %s", r.Period, count, r.Count, period))
		}
	}
}

// of names the period that a time is in. An hour that the end of summer time repeats is
// two.
func (p Period) of(t time.Time) string {
	switch p {
	case Hourly:
		return t.Format("2006-01-02 15h -0700")
	case Daily:
		return t.Format("2006-01-02")
	case Weekly:
		year, week := t.ISOWeek()
		return fmt.Sprintf("%d-W%02d", year, week)
	case Monthly:
		return t.Format("2006-01")
	case Yearly:
		return t.Format("2006")
	}
	return t.Format("2006-01-02 15:04:05")
}
