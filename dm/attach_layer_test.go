package dm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// The layer of /data, whose partition has 16384 sectors, and its metadata device.
const (
	eraLayer    = "0 16384 era /dev/vdd /dev/vdi1 128"
	linearLayer = "0 16384 linear /dev/vdi1 0"
)

var eraMetadata = ioctl.DevNo{Major: 252, Minor: 48}

// formatted has the metadata device of the layer used before: its contents do not change
// when it is attached again.
func formatted(t *testing.T, h *host) {
	t.Helper()
	check(t, h.attachLayer(eraLayer))
	check(t, h.m.Detach(context.Background(), "/data"))
}

func (h *host) attachLayer(table string) error {
	_, err := h.m.AttachLayer(context.Background(), "/data", table)
	return err
}

// TestLayerFromAttachToDetach: the layer stays beneath a set, sees what is written and what
// is not, and goes as it came.
func TestLayerFromAttachToDetach(t *testing.T) {
	kernels(t, func(t *testing.T, o ioctltest.Options) {
		ctx := context.Background()
		h := newHost(t, o)
		formatted(t, h)
		before := h.Snapshot()
		a, err := h.m.AttachLayer(ctx, "/data", eraLayer)
		check(t, err)
		if a.Layer != eraLayer || a.Front != "/dev/mapper/dmsnap-front-vdi1" || a.Redirector != RedirectModule {
			t.Errorf("%+v", a)
		}
		for _, table := range []string{a.Layer, eraLayer, "0 16384 era 252:48 252:129 128"} { // it is there already
			again, err := h.m.AttachLayer(ctx, "/dev/vdi1", table)
			check(t, err)
			if again.Layer != eraLayer {
				t.Errorf("%+v", again)
			}
		}
		again, err := h.m.Attach(ctx, "/data")
		check(t, err)
		if again.Layer != eraLayer {
			t.Errorf("%+v", again)
		}
		check(t, h.createOnData())
		set := h.set(t)
		if v := set.Volumes[0]; set.State != StateActive || v.OriginLayer != eraLayer || v.OriginDevno.String() != "252:129" {
			t.Errorf("%+v", v)
		}
		if err := h.Protected("dmsnap-nightly-vdi1"); err != nil {
			t.Error(err)
		}
		fresh := make([]byte, 4096)
		fill(fresh, 7)
		check(t, h.Write(h.data, 32*128*512, fresh))
		if h.EraWritten(eraMetadata, 32) == 0 || h.EraWritten(eraMetadata, 33) != 0 {
			t.Errorf("block 32 was written; the eras of blocks 32 and 33 are %d and %d", h.EraWritten(eraMetadata, 32), h.EraWritten(eraMetadata, 33))
		}
		check(t, h.m.Remove(ctx, RemoveRequest{Name: "nightly"}))
		_, err = h.m.Recover(ctx)
		check(t, err)
		h.attached(t, true)
		check(t, h.Write(h.data, 32*128*512, make([]byte, 4096)))
		check(t, h.m.Detach(ctx, "/data"))
		same(t, "after detach", before, h.Snapshot())
		h.healthy(t)
	})
}

// TestLayerIsShown: doctor, why and graph tell of it.
func TestLayerIsShown(t *testing.T) {
	ctx := context.Background()
	h := newHost(t, ioctltest.Options{})
	check(t, h.attachLayer(eraLayer))
	r, err := h.m.Doctor(ctx, "/data")
	check(t, err)
	if o := r.Origins[0]; o.Layer != eraLayer || !o.Possible {
		t.Errorf("%+v", o)
	}
	x, err := h.m.Why(ctx, "/data", 0)
	check(t, err)
	if !slices.ContainsFunc(x.Findings, func(f Finding) bool { return strings.Contains(f.Message, eraLayer) }) {
		t.Errorf("%+v", x.Findings)
	}
	g, err := h.m.Graph(ctx, "/dev/mapper/dmsnap-base-vdi1")
	check(t, err)
	i := slices.IndexFunc(g.Nodes, func(n GraphNode) bool { return n.Role == RoleLower })
	if i < 0 || !slices.Contains(g.Nodes[i].Lower, DevNo{Major: 252, Minor: 129}) {
		t.Errorf("%+v", g.Nodes)
	}
}

// TestLayerRefused: what might harm data, or the device itself, is refused before anything
// is changed, with a reason.
func TestLayerRefused(t *testing.T) {
	for _, c := range []struct {
		table, says string
		is          error
	}{
		{"", "no rows", ErrUsage},
		{"0 16384", "target type", ErrUsage},
		{"0 16384 era /dev/vdd /dev/vdi1", "missing", ErrUsage},
		{"0 16384 era vdd /dev/vdi1 128", "not an absolute path", ErrUsage},
		{"0 16384 era /dev/none /dev/vdi1 128", "does not exist", ErrNotFound},
		{"0 16384 era /data /dev/vdi1 128", "no block device", ErrUsage},
		{"0 8192 era /dev/vdd /dev/vdi1 128", "has 8192 sectors", ErrUsage},
		{"0 8192 linear /dev/vdi1 0\n9000 8192 linear /dev/vdi1 9000", "starts at 9000", ErrUsage},
		{"0 8192 linear /dev/vdi1 8192\n8192 8192 linear /dev/vdi1 0", "does not map sector 0 to itself", ErrUsage},
		{"0 16384 linear /dev/vdd 0", "maps 252:48, not 252:129", ErrUsage},
		{"0 8192 linear /dev/vdi1 0\n8192 8192 log-writes /dev/vdi1 /dev/vdd", "only row", ErrUsage},
		{"0 16384 delay /dev/vdi1 0 1 /dev/vdi1 8 1", "does not map sector 0 to itself", ErrUsage},
		{"0 16384 delay", "names no device", ErrUsage},
		{"0 16384 crypt aes-xts-plain64 :32:logon:k 0 /dev/vdi1 0", "not known to leave all data where it is", ErrUsage},
		{"0 16384 writecache s /dev/vdi1 /dev/vdd 4096 0", "not known to leave all data where it is", ErrUsage},
		{"0 16384 zero", "not known to leave all data where it is", ErrUsage},
		{"0 16384 era /dev/vdi1 /dev/vdi1 128", "for its own data, too", ErrUsage},
		{"0 16384 era /dev/vda /dev/vdi1 128", "in use", ErrBusy},
		{"0 16384 era /dev/mapper/home /dev/vdi1 128", "in use", ErrBusy},
		{"0 16384 era /dev/vdc /dev/vdi1 128", "signature of", ErrUsage},
		{"0 16384 era /dev/vde /dev/vdi1 128", "needs", ErrUsage},
	} {
		h := newHost(t, ioctltest.Options{})
		h.AddDisk("vde", ioctl.DevNo{Major: 252, Minor: 64}, 256<<10)
		check(t, h.Write(ioctl.DevNo{Major: 252, Minor: 32}, 0, []byte("XFSB")))
		before := h.Snapshot()
		err := h.attachLayer(c.table)
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v", c.table, err)
		}
		same(t, c.table, before, h.Snapshot())
	}
}

// TestLayerStays: what is attached keeps the layer that it has, or has none.
func TestLayerStays(t *testing.T) {
	ctx := context.Background()
	h := newHost(t, ioctltest.Options{})
	_, err := h.m.Attach(ctx, "/data")
	check(t, err)
	for range 2 {
		attached := h.Snapshot()
		if err := h.attachLayer(eraLayer); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "without this layer") {
			t.Errorf("attached otherwise: %v", err)
		}
		same(t, "refused", attached, h.Snapshot())
		check(t, h.m.Detach(ctx, "/data"))
		check(t, h.attachLayer(linearLayer))
	}
}

// TestLayerNeedsTheModule: an adopted device has none, and one that could be adopted
// gets none.
func TestLayerNeedsTheModule(t *testing.T) {
	ctx := context.Background()
	h := newBareHost(t, ioctltest.Options{})
	before := h.Snapshot()
	if _, err := h.m.AttachLayer(ctx, h.plain, linearLayer); !errors.Is(err, ErrUnsupported) {
		t.Errorf("without the module: %v", err)
	}
	same(t, "refused", before, h.Snapshot())
	_, err := h.m.Attach(ctx, h.plain)
	check(t, err)
	if _, err := h.m.AttachLayer(ctx, h.plain, linearLayer); !errors.Is(err, ErrUsage) {
		t.Errorf("adopted: %v", err)
	}
}

// TestLayerOnItself: a metadata device that is a file on the layer's own filesystem would
// wait for itself.
func TestLayerOnItself(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	h.WriteFile("/data/meta", strings.Repeat("\x00", mib))
	loop := h.AddLoop("/data/meta")
	before := h.Snapshot()
	if err := h.attachLayer("0 16384 era " + loop.String() + " /dev/vdi1 128"); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "wait for itself") {
		t.Error(err)
	}
	same(t, "refused", before, h.Snapshot())
}
