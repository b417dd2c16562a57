package ioctl

import (
	"errors"
	"slices"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl/internal/transport"
)

// fsmapReply writes records of 4 KiB each, every second one free, as a kernel does.
func fsmapReply(b []byte, dev uint32, from, n int) {
	entries := uint32(0)
	for i := from; i < n && entries < fsmapPerCall; i++ {
		rec := b[fsmapHeader+fsmapRecord*entries:]
		native.PutUint32(rec, dev)
		native.PutUint32(rec[4:], fsmapSpecial)
		native.PutUint64(rec[8:], uint64(i)*4096)
		native.PutUint64(rec[16:], uint64(1+i%2))
		native.PutUint64(rec[32:], 4096)
		if i == n-1 {
			native.PutUint32(rec[4:], fsmapSpecial|fsmapLast)
		}
		entries++
	}
	native.PutUint32(b[12:], entries)
}

func TestFreeSpace(t *testing.T) {
	for _, n := range []int{0, 1, fsmapPerCall, fsmapPerCall + 1, 3 * fsmapPerCall} {
		f := file(&stub{
			fstat: func(int) (transport.Stat, error) { return transport.Stat{Dev: DevNo{Major: 254, Minor: 3}.Rdev()}, nil },
			ioctl: func(_ int, request uint32, b []byte) (int, error) {
				if request != 0xc0c0583b || native.Uint32(b[8:]) != fsmapPerCall || native.Uint64(b[fsmapHighAt+24:]) != ^uint64(0) {
					t.Errorf("request %#x\n%s", request, dump(b[:fsmapHeader]))
				}
				from := (native.Uint64(b[fsmapLowAt+8:]) + native.Uint64(b[fsmapLowAt+32:])) / 4096
				fsmapReply(b, 254<<8|3, int(from), n)
				return 0, nil
			},
		})
		var want []Range
		for i := 0; i < n; i += 2 {
			want = append(want, Range{uint64(i) * 4096, 4096})
		}
		if got, err := f.FreeSpace(); err != nil || !slices.Equal(got, want) {
			t.Errorf("%d records: %d free ranges, %v, want %d", n, len(got), err, len(want))
		}
	}
}

func TestParseFSMapHostile(t *testing.T) {
	b := make([]byte, fsmapHeader+fsmapPerCall*fsmapRecord)
	fsmapReply(b, 7, 0, 4)
	if free, _, err := parseFSMap(b, 8); err != nil || len(free) > 0 {
		t.Errorf("another device: %v, %v", free, err)
	}
	for name, change := range map[string]func(){
		"too many":   func() { native.PutUint32(b[12:], fsmapPerCall+1) },
		"backwards":  func() { native.PutUint64(b[fsmapHeader+2*fsmapRecord+8:], 0) },
		"not moving": func() { native.PutUint64(b[fsmapLowAt+8:], 1<<40) },
		"overflow":   func() { native.PutUint64(b[fsmapHeader+fsmapRecord+32:], ^uint64(0)) },
	} {
		clear(b)
		fsmapReply(b, 0, 0, 4)
		change()
		if _, _, err := parseFSMap(b, 0); !errors.Is(err, ErrBadReply) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
