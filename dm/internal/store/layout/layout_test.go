package layout_test

import (
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	_ "embed"

	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
)

var update = flag.Bool("update", false, "rewrite the golden file")

//go:embed testdata/label.golden
var golden string

func label() layout.Label {
	return layout.Label{
		ID: "0123456789abcdef0123456789abcdef", Set: "nightly", Volume: 1, VolumeName: "vg-home",
		Piece: 2, Kind: layout.Device, Persistent: true, Medium: 16<<20 + 512,
	}
}

// TestGolden: what is on a medium can be read by every later version.
func TestGolden(t *testing.T) {
	var got string
	for _, c := range []layout.Copy{layout.InLead, layout.InTail} {
		b, err := label().Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		got += strings.TrimRight(hex.Dump(b[:512]), "\n") + "\n"
	}
	if *update {
		if err := os.WriteFile("testdata/label.golden", []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got != golden {
		t.Errorf("the bytes of a label changed:\n%s", got)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, c := range []layout.Copy{layout.InLead, layout.InTail} {
		b, err := label().Encode(c)
		if err != nil || len(b) != layout.Align {
			t.Fatal(len(b), err)
		}
		l, copied, err := layout.Decode(b)
		if err != nil || l != label() || copied != c {
			t.Errorf("%+v, copy %d, %v", l, copied, err)
		}
		for i := range 400 {
			b[i] ^= 0x10
			if _, _, err := layout.Decode(b); err == nil {
				t.Errorf("byte %d is wrong, and nobody noticed", i)
			}
			b[i] ^= 0x10
		}
		if _, _, err := layout.Decode(b[:layout.Align-1]); !errors.Is(err, layout.ErrNone) {
			t.Errorf("half a label: %v", err)
		}
	}
	if _, _, err := layout.Decode(make([]byte, layout.Align)); !errors.Is(err, layout.ErrNone) {
		t.Error(err)
	}
}

// TestSizes: the tail reaches to the end of the medium, lead and tail are at least
// 1 MiB, and all begins at a block.
func TestSizes(t *testing.T) {
	for _, medium := range []uint64{0, 2 << 20, 2<<20 + 4095, 2<<20 + 4096, 16 << 20, 16<<20 + 512, 16<<20 + 4095} {
		at, err := layout.TailAt(medium)
		if small := medium < 2<<20+4096; small != (err != nil) || small && layout.Area(medium) != 0 {
			t.Errorf("%d: tail at %d, %v", medium, at, err)
		} else if small {
			continue
		}
		if at%layout.Align != 0 || medium-at < layout.Tail || medium-at >= layout.Tail+layout.Align || layout.Area(medium) != at-layout.Lead {
			t.Errorf("%d: tail at %d, area of %d", medium, at, layout.Area(medium))
		}
	}
	if layout.Area(layout.Medium(1<<20)) != 1<<20 {
		t.Error("a medium made for an area has another one")
	}
}

func TestRefused(t *testing.T) {
	for what, spoil := range map[string]func(*layout.Label){
		"short id":  func(l *layout.Label) { l.ID = "5e7" },
		"long id":   func(l *layout.Label) { l.ID += "00" },
		"no number": func(l *layout.Label) { l.ID = strings.Repeat("x", 32) },
		"long name": func(l *layout.Label) { l.Set = strings.Repeat("x", 129) },
		"zero byte": func(l *layout.Label) { l.VolumeName = "a\x00b" },
		"too small": func(l *layout.Label) { l.Medium = 2 << 20 },
	} {
		l := label()
		spoil(&l)
		if _, err := l.Encode(layout.InLead); err == nil {
			t.Error(what)
		}
	}
}

func FuzzDecode(f *testing.F) {
	b, err := label().Encode(layout.InTail)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		l, c, err := layout.Decode(b)
		if err != nil {
			return
		}
		again, err := l.Encode(c)
		if err != nil || string(again) != string(b[:layout.Align]) {
			t.Errorf("%+v is not what was read: %v", l, err)
		}
	})
}
