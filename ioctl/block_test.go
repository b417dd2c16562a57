package ioctl

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBlockDevice(t *testing.T) {
	f := file(&stub{
		ioctl: func(_ int, request uint32, b []byte) (int, error) {
			switch {
			case request == unix.BLKGETSIZE64 && len(b) == 8:
				native.PutUint64(b, 5<<40)
			case request == unix.BLKSSZGET && len(b) == 4:
				native.PutUint32(b, 512)
			case request == unix.BLKPBSZGET && len(b) == 4:
				native.PutUint32(b, 4096)
			case request == unix.BLKROGET && len(b) == 4:
				native.PutUint32(b, 1)
			case (request == unix.BLKDISCARD || request == unix.BLKZEROOUT) && len(b) == 16:
				if native.Uint64(b) != 1<<33 || native.Uint64(b[8:]) != 1<<34 {
					t.Errorf("range %x", b)
				}
				return -1, unix.EOPNOTSUPP
			default:
				t.Errorf("request %#x with %d bytes", request, len(b))
			}
			return 0, nil
		},
		ioctlInt: func(_ int, request uint32, arg uintptr) (int, error) {
			if request != unix.BLKFLSBUF || arg != 0 {
				t.Errorf("request %#x, %d", request, arg)
			}
			return -1, unix.EIO
		},
	})
	size, err := f.BlockSize()
	logical, physical, err2 := f.SectorSizes()
	readOnly, err3 := f.ReadOnly()
	if size != 5<<40 || logical != 512 || physical != 4096 || !readOnly || err != nil || err2 != nil || err3 != nil {
		t.Error(size, logical, physical, readOnly, err, err2, err3)
	}
	wantErr(t, f.Discard(1<<33, 1<<34), unix.EOPNOTSUPP)
	wantErr(t, f.ZeroOut(1<<33, 1<<34), unix.EOPNOTSUPP)
	wantErr(t, f.Flush(), unix.EIO)
}

func TestBlockDeviceFails(t *testing.T) {
	f := file(&stub{ioctl: func(int, uint32, []byte) (int, error) { return -1, unix.ENOTTY }})
	_, err := f.BlockSize()
	wantErr(t, err, unix.ENOTTY)
	_, _, err = f.SectorSizes()
	wantErr(t, err, unix.ENOTTY)
	_, err = f.ReadOnly()
	wantErr(t, err, unix.ENOTTY)
	_, err = f.GetFlags()
	wantErr(t, err, unix.ENOTTY)
	_, err = f.Extents(0)
	wantErr(t, err, unix.ENOTTY)
	_, err = f.Extents(4)
	wantErr(t, err, ErrBadFlags)
}

func TestInodeFlags(t *testing.T) {
	var set uint32
	f := file(&stub{ioctl: func(_ int, request uint32, b []byte) (int, error) {
		if request == unix.FS_IOC_GETFLAGS {
			native.PutUint32(b, 0x80000)
		} else {
			set = native.Uint32(b)
		}
		return 0, nil
	}})
	flags, err := f.GetFlags()
	wantErr(t, err)
	wantErr(t, f.SetFlags(flags|FlagImmutable))
	if set != 0x80010 {
		t.Errorf("set %#x", set)
	}
}

// fiemapReply writes extents as the kernel does, as many as there is room for.
func fiemapReply(b []byte, extents []Extent) {
	start, room := native.Uint64(b), native.Uint32(b[24:])
	mapped := uint32(0)
	for _, e := range extents {
		if e.Logical+e.Length <= start || mapped == room {
			continue
		}
		rec := b[fiemapHeader+fiemapExtent*mapped:]
		native.PutUint64(rec, e.Logical)
		native.PutUint64(rec[8:], e.Physical)
		native.PutUint64(rec[16:], e.Length)
		native.PutUint32(rec[40:], uint32(e.Flags))
		mapped++
	}
	native.PutUint32(b[20:], mapped)
}

func TestExtents(t *testing.T) {
	for _, n := range []int{0, 1, fiemapPerCall, fiemapPerCall + 1, 3 * fiemapPerCall} {
		for _, last := range []ExtentFlags{0, ExtentLast} {
			var want []Extent
			for i := range n {
				want = append(want, Extent{Logical: uint64(i) * 8192, Physical: 1 << 40, Length: 4096})
			}
			if n > 0 {
				want[n-1].Flags = last | ExtentUnwritten
			}
			interrupted := false
			f := file(&stub{ioctl: func(_ int, request uint32, b []byte) (int, error) {
				if interrupted = !interrupted; interrupted {
					return -1, unix.EINTR
				}
				if request != 0xc020660b || native.Uint32(b[16:]) != uint32(FiemapSync) {
					t.Errorf("request %#x\n%s", request, dump(b))
				}
				fiemapReply(b, want)
				return 0, nil
			}})
			got, err := f.Extents(FiemapSync)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%d extents: got %d, %v", n, len(got), err)
			}
		}
	}
}

func TestParseFiemapHostile(t *testing.T) {
	reply := func(mapped uint32, extents ...Extent) []byte {
		b := make([]byte, fiemapHeader+fiemapExtent*len(extents))
		native.PutUint32(b[24:], uint32(len(extents)))
		fiemapReply(b, extents)
		native.PutUint32(b[20:], mapped)
		return b
	}
	e := Extent{Logical: 4096, Length: 4096}
	for name, c := range map[string]struct {
		b     []byte
		start uint64
	}{
		"cut":              {make([]byte, fiemapHeader-1), 0},
		"too many":         {reply(2, e), 0},
		"huge count":       {reply(0xffffffff, e), 0},
		"twice the same":   {reply(2, e, e), 0},
		"out of order":     {reply(2, Extent{Logical: 8192, Length: 1}, e), 0},
		"before the start": {reply(1, e), 8192},
		"empty":            {reply(1, Extent{}), 0},
		"overflow":         {reply(1, Extent{Logical: ^uint64(0), Length: 2}), 0},
	} {
		if name == "empty" { // the reply writer leaves it out
			native.PutUint32(c.b[20:], 1)
		}
		if got, err := parseFiemap(c.b, c.start); err == nil {
			t.Errorf("%s: got %v and no error", name, got)
		}
	}
}

func FuzzFiemap(f *testing.F) {
	b := make([]byte, fiemapHeader+2*fiemapExtent)
	native.PutUint32(b[24:], 2)
	fiemapReply(b, []Extent{{Logical: 0, Length: 4096}, {Logical: 8192, Length: 4096, Flags: ExtentLast}})
	f.Add(b, uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, start uint64) {
		extents, err := parseFiemap(b, start)
		for i, e := range extents {
			if err == nil && (e.Logical+e.Length <= start || i > 0 && e.Logical < extents[i-1].Logical) {
				t.Errorf("extent %d: %+v from %d", i, e, start)
			}
		}
	})
}
