package store_test

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/ioctl"
)

func TestCommon(t *testing.T) {
	a := []ioctl.Range{{Start: 0, Length: 10}, {Start: 20, Length: 10}, {Start: 40, Length: 10}}
	b := []ioctl.Range{{Start: 5, Length: 20}, {Start: 28, Length: 1}, {Start: 30, Length: 15}}
	want := []ioctl.Range{{Start: 5, Length: 5}, {Start: 20, Length: 5}, {Start: 28, Length: 1}, {Start: 40, Length: 5}}
	if got := store.Common(a, b); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := store.Common(b, a); !slices.Equal(got, want) {
		t.Errorf("turned round: %v", got)
	}
	if got := store.Common(a, nil); len(got) > 0 {
		t.Errorf("with nothing: %v", got)
	}
}

func TestOthers(t *testing.T) {
	f := newFiles(t)
	file, err := f.Border().Open("/home/cow", unix.O_RDWR|unix.O_CREAT, 0o600)
	check(t, err)
	defer file.Close()
	f.Fragment(2)
	check(t, file.Allocate(0, 64<<10))
	e, err := file.Extents(0)
	check(t, err)
	if len(e) != 2 {
		t.Fatalf("%d pieces", len(e))
	}
	in := []ioctl.Range{ // the second piece lies below the first
		{Start: e[1].Physical - 4096, Length: 4096 + 8192}, {Start: e[1].Physical + 16384, Length: 4096}, {Start: e[0].Physical, Length: 64 << 10},
	}
	want := []ioctl.Range{{Start: 32<<10 + 8192, Length: 8192}, {Start: 32<<10 + 20480, Length: 12288}}
	if got, err := store.Others(file, 4096, in); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	want = []ioctl.Range{{Start: 40 << 10, Length: 24 << 10}}
	if got, err := store.Others(file, 40<<10, nil); err != nil || !slices.Equal(got, want) {
		t.Errorf("in nothing: %v, %v, want %v", got, err, want)
	}
}
