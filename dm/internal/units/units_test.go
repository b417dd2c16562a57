package units

import (
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]uint64{
		"1k": 1 << 10, "10g": 10 << 30, "10G": 10 << 30, "10GiB": 10 << 30, "10 GiB": 10 << 30, "1.5g": 3 << 29, "0.5k": 512, "1.000001m": 1<<20 + 1, "16777215t": 16777215 << 40,
	} {
		if n, percent, err := Parse(text); err != nil || percent || n != want {
			t.Errorf("%s: %d %v %v", text, n, percent, err)
		}
	}
	if n, percent, err := Parse("20%"); err != nil || !percent || n != 20 {
		t.Errorf("20%%: %d %v %v", n, percent, err)
	}
	for text, says := range map[string]string{
		"": "empty", "10": "no unit", "1.5": "no unit", "10GB": "write 10g or 10GiB", "1.5MB": "write 1.5m or 1.5MiB", "1.g": "not a number", ".5g": "not a number",
		"1..5g": "not a number", "1.0000001g": "not a number", "12.5%": "not a number", "-1g": "not a number", "0g": "zero", "0.0000009k": "not a number", "16777216t": "too large", "10q": "not a number", "10gg": "not a number", "%": "not a number", "g": "not a number", "1,5g": "not a number",
	} {
		if n, _, err := Parse(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %d, %v, want %q", text, n, err, says)
		}
	}
}

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"5": 5 * time.Second, "0": 0, "30s": 30 * time.Second, "1h30m": 90 * time.Minute, "2d": 2 * day, "1w": 7 * day, "1w2d3h": 9*day + 3*time.Hour, "2d12h": 60 * time.Hour, "-5s": -5 * time.Second,
	} {
		if d, err := ParseDuration(text); err != nil || d != want {
			t.Errorf("%s: %v %v", text, d, err)
		}
	}
	for _, text := range []string{"", "d", "2x", "1d1w", "1d2d", "1.5d", "-1d", "1d-5h", "20000w", "99999999999", "106751d24h", "1week", " 5"} {
		if d, err := ParseDuration(text); err == nil {
			t.Errorf("%q: %v", text, d)
		}
	}
}

// FuzzParse: no text is a panic, and none is zero without an error.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"10g", "1.5GiB", "20%", "10GB", "1w2d3h", "5"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, _, err := Parse(text); err == nil && n == 0 {
			t.Errorf("%q is zero", text)
		}
		if d, err := ParseDuration(text); err == nil && d < 0 && !strings.HasPrefix(text, "-") {
			t.Errorf("%q is %v", text, d)
		}
	})
}
