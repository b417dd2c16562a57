package leak

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestDiffCounts(t *testing.T) {
	before := State{"mount /a": 1, "descriptor of x": 2, "gone": 1}
	after := State{"mount /a": 1, "descriptor of x": 3, "dm device d": 1}
	want := []string{"left behind: descriptor of x", "left behind: dm device d"}
	if got := Diff(before, after); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWaitGivesTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		slow := func() (State, error) {
			if looks++; looks < 5 {
				return State{"process 7": 1}, nil
			}
			return State{}, nil
		}
		if lines := wait(State{}, time.Minute, slow); len(lines) > 0 {
			t.Errorf("got %q", lines)
		}
		stuck := func() (State, error) { return State{"process 7": 1}, nil }
		start := time.Now()
		if lines := wait(State{}, time.Minute, stuck); len(lines) != 1 || time.Since(start) > 2*time.Minute {
			t.Errorf("got %q after %v", lines, time.Since(start))
		}
	})
}

func TestProcessLine(t *testing.T) {
	const tail = " 97 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1 2 3"
	for _, c := range []struct {
		stat, want string
		user       bool
	}{
		{"97 (a b) c) S 1 97" + tail, "process 97 (a b) c, started 4242)", true},
		{"55 (kworker/0:1) I 2 0" + tail, "", false},
		{"2 (kthreadd) S 0 0" + tail, "", false},
		{"60 ((udev-worker)) S 59 0" + tail, "", false},
	} {
		if line, user, err := processLine(c.stat); line != c.want || user != c.user || err != nil {
			t.Errorf("%s: got %q, %v, %v", c.stat, line, user, err)
		}
	}
	for _, stat := range []string{"", "1 (x", ") 1 (", "1 (x) S 1"} {
		if _, _, err := processLine(stat); err == nil {
			t.Errorf("%q: no error", stat)
		}
	}
}

func TestDescriptorIsSeen(t *testing.T) {
	before, err := take(descriptors)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	after, err := take(descriptors)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(Diff(before, after), "\n"); !strings.Contains(got, "descriptor of /dev/null") {
		t.Errorf("got %q", got)
	}
}
