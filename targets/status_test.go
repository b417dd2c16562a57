package targets_test

import (
	"errors"
	"testing"

	"github.com/dmsnap/dmsnap/targets"
)

func TestSnapshotStatus(t *testing.T) {
	for _, c := range []struct {
		text string
		want targets.SnapshotStatus
	}{
		{"32/2048 16", targets.SnapshotStatus{State: targets.Active, Used: 32, Total: 2048, Metadata: 16}},
		{"0/2048 0", targets.SnapshotStatus{State: targets.Active, Total: 2048}},
		{"Invalid", targets.SnapshotStatus{State: targets.Invalid}},
		{"Overflow", targets.SnapshotStatus{State: targets.Overflow}},
		{"Merge failed", targets.SnapshotStatus{State: targets.MergeFailed}},
		{"Unknown", targets.SnapshotStatus{State: targets.Unknown}},
	} {
		got, err := targets.ParseSnapshotStatus(c.text)
		if err != nil || got != c.want || got.String() != c.text {
			t.Errorf("%q: got %+v, %v; formats as %q", c.text, got, err, got)
		}
	}
}

func TestSnapshotStatusRefuses(t *testing.T) {
	for _, text := range []string{
		"", "32", "32/2048", "32/ 16", "/2048 16", "32/2048 16 0", "-1/2048 16", "32/2048 x", "32/2048/1 16",
		"invalid", "Merge", "Merge  failed", "Active", "99999999999999999999/1 0", "1/99999999999999999999 0",
	} {
		got, err := targets.ParseSnapshotStatus(text)
		var parse *targets.ParseError
		if !errors.As(err, &parse) || got != (targets.SnapshotStatus{}) {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}

func TestSnapshotFigures(t *testing.T) {
	for _, c := range []struct {
		text   string
		data   targets.Sectors
		merged bool
	}{
		{"48/2048 16", 32, false},
		{"32/2048 32", 0, true},
		{"16/2048 32", 0, false}, // nonsense must not wrap around
		{"Merge failed", 0, false},
	} {
		s, err := targets.ParseSnapshotStatus(c.text)
		if err != nil || s.Data() != c.data || s.Merged() != c.merged {
			t.Errorf("%q: %v sectors of data, merged %v, %v", c.text, s.Data(), s.Merged(), err)
		}
	}
}

func TestCopiesStatus(t *testing.T) {
	for _, c := range []struct {
		parse func(string) (targets.CopiesStatus, error)
		text  string
		want  targets.CopiesStatus
		whole bool
	}{
		{targets.ParseRaidStatus, "raid1 2 AA 262144/262144 idle 0 0 -", targets.CopiesStatus{Health: "AA", Synced: 262144, Total: 262144, Action: "idle"}, true},
		{targets.ParseRaidStatus, "raid1 2 Aa 8/262144 recover 0 0 -", targets.CopiesStatus{Health: "Aa", Synced: 8, Total: 262144, Action: "recover"}, false},
		{targets.ParseRaidStatus, "raid1 2 AD 16/16 idle 0", targets.CopiesStatus{Health: "AD", Synced: 16, Total: 16, Action: "idle"}, false},
		{targets.ParseRaidStatus, "raid6_zr 5 AAAAA 16/16 check 0 0 -", targets.CopiesStatus{Health: "AAAAA", Synced: 16, Total: 16, Action: "check"}, false},
		{targets.ParseMirrorStatus, "2 254:1 254:2 256/256 1 AA 3 disk 254:0 A", targets.CopiesStatus{Health: "AA", Synced: 256, Total: 256}, true},
		{targets.ParseMirrorStatus, "2 254:1 254:2 3/256 1 AA 1 core", targets.CopiesStatus{Health: "AA", Synced: 3, Total: 256}, false},
		{targets.ParseMirrorStatus, "2 254:1 254:2 256/256 1 AD 3 disk 254:0 A", targets.CopiesStatus{Health: "AD", Synced: 256, Total: 256}, false},
	} {
		got, err := c.parse(c.text)
		if err != nil || got != c.want || got.Whole() != c.whole {
			t.Errorf("%q: got %+v, whole %v, %v", c.text, got, got.Whole(), err)
		}
	}
}

func TestCopiesStatusRefuses(t *testing.T) {
	for text, parse := range map[string]func(string) (targets.CopiesStatus, error){
		"":                             targets.ParseRaidStatus,
		"raid1 2 A 8/8 idle":           targets.ParseRaidStatus,
		"raid1 2 AA 8 idle":            targets.ParseRaidStatus,
		"raid1 2 AA 8/8":               targets.ParseRaidStatus,
		"raid1 x AA 8/8 idle":          targets.ParseRaidStatus,
		"0":                            targets.ParseMirrorStatus,
		"2 254:1 254:2 8/8 1 A 1 core": targets.ParseMirrorStatus,
		"2 254:1 254:2 8/8":            targets.ParseMirrorStatus,
		"9 254:1 254:2 8/8 1 AA":       targets.ParseMirrorStatus,
	} {
		if got, err := parse(text); err == nil || got.Whole() {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}

func TestOriginStatus(t *testing.T) {
	if err := targets.ParseOriginStatus(" "); err != nil {
		t.Error(err)
	}
	if err := targets.ParseOriginStatus("8:1"); err == nil {
		t.Error("a word was accepted")
	}
}

func TestEraStatus(t *testing.T) {
	for _, c := range []struct {
		text string
		want targets.EraStatus
	}{
		{"8 17/1024 3 -", targets.EraStatus{BlockSize: 8, Used: 17, Total: 1024, Era: 3}},
		{"8 17/1024 4294967295 12", targets.EraStatus{BlockSize: 8, Used: 17, Total: 1024, Era: 4294967295, Snap: 12}},
		{"Error", targets.EraStatus{Failed: true}},
	} {
		got, err := targets.ParseEraStatus(c.text)
		if err != nil || got != c.want || got.String() != c.text {
			t.Errorf("%q: got %+v, %v; formats as %q", c.text, got, err, got)
		}
	}
	for _, text := range []string{
		"", "Fail", "8", "8 17 3 -", "8 17/1024 3", "8 17/1024 3 0", "8 17/1024 3 - -", "8 17/1024 4294967296 -", "x 17/1024 3 -",
	} {
		got, err := targets.ParseEraStatus(text)
		var parse *targets.ParseError
		if !errors.As(err, &parse) || got != (targets.EraStatus{}) {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}
