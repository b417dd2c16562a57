package dm

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]Size{
		"1k":                    {Bytes: 1 << 10},
		"1K":                    {Bytes: 1 << 10},
		"64k":                   {Bytes: 64 << 10},
		"3m":                    {Bytes: 3 << 20},
		"10g":                   {Bytes: 10 << 30},
		"2T":                    {Bytes: 2 << 40},
		"007k":                  {Bytes: 7 << 10},
		"1024k":                 {Bytes: 1 << 20},
		"20%":                   {Percent: 20},
		"100%":                  {Percent: 100},
		"250%":                  {Percent: 250},
		"16777215t":             {Bytes: 16777215 << 40},
		"18014398509481983k":    {Bytes: 18014398509481983 << 10},
		"18446744073709551615%": {Percent: math.MaxUint64},
		"1.5g":                  {Bytes: 3 << 29},
		"1 KiB":                 {Bytes: 1 << 10},
	} {
		var got Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func TestParseSizeRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"":                      "empty",
		"10":                    "no unit",
		"0":                     "no unit",
		"1.5":                   "no unit",
		"0k":                    "zero",
		"0%":                    "zero",
		"k":                     "not a number",
		"%":                     "not a number",
		"-1k":                   "not a number",
		"+1k":                   "not a number",
		" 1k":                   "not a number",
		"1kb":                   "ambiguous",
		"1_0k":                  "not a number",
		"0x10k":                 "not a number",
		"1e":                    "not a number",
		"1p":                    "not a number",
		"1s":                    "not a number",
		"1b":                    "not a number",
		"١k":                    "not a number",
		"1\x00":                 "not a number",
		"16777216t":             "too large",
		"18014398509481984k":    "too large",
		"18446744073709551615k": "too large",
		"18446744073709551616%": "not a number",
		"18446744073709551616k": "not a number",
	} {
		was := Size{Bytes: 7}
		got := was
		err := got.UnmarshalText([]byte(text))
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		if got != was {
			t.Errorf("%q leaves %+v behind", text, got)
		}
	}
}

func TestSizeString(t *testing.T) {
	for want, s := range map[string]Size{
		"1k": {Bytes: 1 << 10}, "1025k": {Bytes: 1025 << 10}, "1m": {Bytes: 1 << 20}, "3g": {Bytes: 3 << 30}, "1024t": {Bytes: 1 << 50},
		"20%": {Percent: 20}, "1537k": {Bytes: 3<<19 + 1<<10},
	} {
		if got := s.String(); got != want {
			t.Errorf("%+v is %q, not %q", s, got, want)
		}
		b, err := json.Marshal(map[string]Size{"size": s})
		if err != nil || string(b) != `{"size":"`+want+`"}` {
			t.Errorf("%s, %v", b, err)
		}
	}
	if !(Size{}).IsZero() || (Size{Bytes: 1}).IsZero() || (Size{Percent: 1}).IsZero() {
		t.Error("IsZero")
	}
}

func TestSizeOf(t *testing.T) {
	for _, row := range []struct {
		size         Size
		origin, want uint64
	}{
		{Size{}, 1 << 30, 0},
		{Size{Bytes: 4096}, 1 << 30, 4096},
		{Size{Percent: 20}, 1000, 200},
		{Size{Percent: 100}, math.MaxUint64, math.MaxUint64},
		{Size{Percent: 1}, 99, 0},
		{Size{Percent: 33}, 100, 33},
		{Size{Percent: 50}, math.MaxUint64, math.MaxUint64 / 2},
		{Size{Percent: 101}, math.MaxUint64, math.MaxUint64},
		{Size{Percent: math.MaxUint64}, math.MaxUint64, math.MaxUint64},
		{Size{Percent: 200}, 1 << 62, 1 << 63},
		{Size{Percent: 400}, 1 << 62, math.MaxUint64},
	} {
		if got := row.size.Of(row.origin); got != row.want {
			t.Errorf("%+v of %d: %d, not %d", row.size, row.origin, got, row.want)
		}
	}
}

func FuzzSize(f *testing.F) {
	for _, text := range []string{"1k", "20%", "16777215t", "10", "0k", "1 k"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s, again Size
		if s.UnmarshalText([]byte(text)) != nil {
			return
		}
		if s.IsZero() || s.Bytes != 0 && s.Percent != 0 {
			t.Fatalf("%q is %+v", text, s)
		}
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Errorf("%q is %+v, which is written %q and read %+v (%v)", text, s, s, again, err)
		}
		if of := s.Of(1 << 20); s.Percent == 0 && of != s.Bytes {
			t.Errorf("%q of 1m: %d", text, of)
		}
	})
}
