package freeze

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dmsnap/dmsnap/ioctl"
)

func TestParseMount(t *testing.T) {
	const line = `36 35 254:3 /@home /srv/my\040data rw,noatime shared:7 master:1 - ext4 /dev/mapper/vg-a\134b rw,errors=remount-ro`
	want := Mount{
		ID: 36, DevNo: ioctl.DevNo{Major: 254, Minor: 3}, Path: "/srv/my data", Root: "/@home", FSType: "ext4",
		Source: `/dev/mapper/vg-a\b`, Options: "rw,noatime", SuperOptions: "rw,errors=remount-ro",
	}
	got, ok := parseMount(line)
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("%v\n%s", ok, diff)
	}
}

func TestParseMountsKeepsOddLines(t *testing.T) {
	odd := []string{
		"",
		"x 35 254:3 / / rw - ext4 /dev/a rw",
		"36 35 254 / / rw - ext4 /dev/a rw",
		"36 35 254:x / / rw - ext4 /dev/a rw",
		"36 35 99999:3 / / rw - ext4 /dev/a rw",
		"36 35 254:3 / / rw shared:1 ext4 /dev/a rw",
		"36 35 254:3 / /",
		"36 35 254:3 / / rw - ext4 " + strings.Repeat("a", 70000) + " rw",
	}
	good := "36 35 254:3 / /data rw - ext4  rw"
	text := strings.Join(append(odd, good), "\n") + "\n"
	mounts, strange := parseMounts(text, 7, "mnt:[1]")
	if diff := cmp.Diff(odd, strange); diff != "" {
		t.Error(diff)
	}
	if len(mounts) != 1 || mounts[0].Reach != "/proc/7/root/data" || mounts[0].Namespace != "mnt:[1]" || mounts[0].Source != "" {
		t.Errorf("got %+v", mounts)
	}
}

func TestOption(t *testing.T) {
	m := Mount{SuperOptions: `rw,attr2,logdev=/dev/my\040log,rtdev=/dev/rt,noquota`}
	if got, ok := m.option("logdev"); got != "/dev/my log" || !ok {
		t.Errorf("got %q, %v", got, ok)
	}
	if got, ok := m.option("dev"); ok {
		t.Errorf("got %q", got)
	}
	for options, want := range map[string]bool{"ro": true, "ro,x": true, "rw": false, "rw,ro": false, "rofs": false} {
		if got := (Mount{SuperOptions: options}).readOnly(); got != want {
			t.Errorf("%q: read-only %v", options, got)
		}
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		`a\040b`: "a b", `\134`: `\`, `\13`: `\13`, `\999`: `\999`, `\`: `\`, `\303\240`: "à", `\777`: `\777`,
	} {
		if got := unescape(in); got != want {
			t.Errorf("%q: got %q", in, got)
		}
	}
}

func TestMountID(t *testing.T) {
	if id, ok := mountID("pos:\t0\nflags:\t0100000\nmnt_id:\t29\nino:\t2\n"); id != 29 || !ok {
		t.Errorf("got %d, %v", id, ok)
	}
	if id, ok := mountID("pos:\t0\n"); ok {
		t.Errorf("got %d", id)
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add("36 35 254:3 / /data rw - ext4 /dev/a rw\n")
	f.Add("36 35 254:3 / /a\\040b rw shared:1 - - - rw\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		mounts, odd := parseMounts(text, 0, "")
		lines := 0
		for range strings.Lines(text) {
			lines++
		}
		if len(mounts)+len(odd) != lines {
			t.Errorf("%d lines gave %d mounts and %d odd lines", lines, len(mounts), len(odd))
		}
		for _, m := range mounts {
			m.option("logdev")
		}
	})
}
