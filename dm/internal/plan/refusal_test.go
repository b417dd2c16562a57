package plan_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/targets"
)

// TestRefusals goes through everything Create refuses.
func TestRefusals(t *testing.T) {
	on := func(mod func(*plan.VolumeRequest)) func(*plan.CreateRequest) {
		return func(r *plan.CreateRequest) { mod(&r.Volumes[0]) }
	}
	for name, row := range map[string]struct {
		mod    func(*plan.CreateRequest)
		kind   plan.Kind
		says   string // words of the message
		device string // "" if the request as a whole is refused
	}{
		"set name":     {func(r *plan.CreateRequest) { r.Set = "a/b" }, plan.Usage, `"a/b"`, ""},
		"own base":     {on(func(v *plan.VolumeRequest) { v.Origin.Role = plan.RoleBase }), plan.Usage, "dmsnap's own base device", "/dev/mapper/vg-a"},
		"own image":    {on(func(v *plan.VolumeRequest) { v.Origin.Role = plan.RoleImage }), plan.Usage, "dmsnap's own image device", "/dev/mapper/vg-a"},
		"store of":     {on(func(v *plan.VolumeRequest) { v.Origin.StoreOf = "dmsnap-x-y" }), plan.Usage, "exception store of dmsnap-x-y", "/dev/mapper/vg-a"},
		"suspended":    {on(func(v *plan.VolumeRequest) { v.Origin.Suspended = true }), plan.Busy, "suspended by another program", "/dev/mapper/vg-a"},
		"reloading":    {on(func(v *plan.VolumeRequest) { v.Origin.InactiveLoaded = true }), plan.Busy, "not live yet", "/dev/mapper/vg-a"},
		"no size":      {on(func(v *plan.VolumeRequest) { v.Origin.Size = 0 }), plan.Usage, "no size", "/dev/mapper/vg-a"},
		"bypassed":     {on(func(v *plan.VolumeRequest) { layered(v); v.Origin.Base.Fronted = false }), plan.Busy, "bypassed", "/dev/mapper/vg-a"},
		"plain device": {on(func(v *plan.VolumeRequest) { plain(v); v.Origin.Plain.Interposer = false }), plan.Unsupported, "is a plain device", "/dev/vda1"},
		"plain held":   {on(func(v *plan.VolumeRequest) { plain(v); v.Origin.Plain.Holders = []string{"md0"} }), plan.Unsupported, "used by md0", "/dev/vda1"},
		"plain disk":   {on(func(v *plan.VolumeRequest) { plain(v); v.Origin.Plain.Partitioned = true }), plan.Unsupported, "has partitions", "/dev/vda1"},
		"plain let go": {on(func(v *plan.VolumeRequest) { attached(v); v.Origin.Base.Redirect = targets.InterposeStatus{} }), plan.Busy, "no longer pass", "/dev/vda1"},
		"plain passed": {on(func(v *plan.VolumeRequest) { attached(v); v.Origin.Base.Redirect.Bypassed = 3 }), plan.Busy, "3 writes", "/dev/vda1"},
		"plain grown":  {on(func(v *plan.VolumeRequest) { attached(v); v.Origin.Size++ }), plan.Busy, "has changed since it was attached", "/dev/vda1"},
		"chunk odd":    {func(r *plan.CreateRequest) { r.Chunk = 24 }, plan.Usage, "12288 is not a power of two", ""},
		"chunk small":  {func(r *plan.CreateRequest) { r.Chunk = 4 }, plan.Usage, "2048 is too small", ""},
		"chunk large":  {func(r *plan.CreateRequest) { r.Chunk = 2 * targets.MaxChunk }, plan.Usage, "larger than the kernel allows", ""},
		"chunk below a sector": {
			func(r *plan.CreateRequest) { r.Chunk, r.Volumes[0].Origin.LogicalBlock = 8, 64<<10 },
			plan.Usage, "smaller than a sector of /dev/mapper/vg-a (65536)", "/dev/mapper/vg-a",
		},
		"store sectors":  {on(func(v *plan.VolumeRequest) { v.Store.LogicalBlock = 4096 }), plan.Unsupported, "4096 bytes) are larger", "/dev/vdc"},
		"asked too much": {on(func(v *plan.VolumeRequest) { v.StoreSize = v.Store.Size + 1 }), plan.NoSpace, "were requested", "/dev/vdc"},
		"asked too little": {
			on(func(v *plan.VolumeRequest) { v.StoreSize = 3*128 - 1 }), plan.NoSpace, "smaller than 3 chunks of 65536", "/dev/vdc",
		},
		"store too small": {on(func(v *plan.VolumeRequest) { v.Store.Size = 3*128 - 1 }), plan.NoSpace, "smaller than 3 chunks", "/dev/vdc"},
		"origin twice": {
			func(r *plan.CreateRequest) { r.Volumes[1].Origin = r.Volumes[0].Origin }, plan.Usage, "are the same volume", "/dev/mapper/vg-a",
		},
		"store twice": {
			func(r *plan.CreateRequest) { r.Volumes[1].Store = r.Volumes[0].Store }, plan.Usage, "the store of both /dev/vg/a and /dev/vg/b", "/dev/vdc",
		},
		"store is an origin": {
			func(r *plan.CreateRequest) { r.Volumes[0].Store.Dev = r.Volumes[1].Origin.Dev }, plan.Usage, "is the origin /dev/vg/b", "/dev/vdc",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(volume("a", 0), volume("b", 1))
			if _, err := plan.Create(r); err != nil {
				t.Fatal(err)
			}
			row.mod(&r)
			p, err := plan.Create(r)
			if p != nil {
				t.Error("a plan beside the refusal")
			}
			refused(t, err, row.kind, row.says, row.device)
		})
	}
}

func refused(t *testing.T, err error, kind plan.Kind, says, device string) {
	t.Helper()
	r, ok := errors.AsType[*plan.Refusal](err)
	if !ok {
		t.Fatalf("no refusal: %v", err)
	}
	if r.Kind != kind || r.Device != device || r.Hint == "" || !strings.Contains(r.Error(), says) || strings.Contains(r.Error(), "\n") {
		t.Errorf("%s refusal of %q: %q, hint %q", r.Kind, r.Device, r.Why, r.Hint)
	}
}

// TestStatefulTargets: a table that may be live only once is never copied onto
// a base, wherever in the table it is.
func TestStatefulTargets(t *testing.T) {
	for _, kind := range []string{
		"cache", "clone", "era", "integrity", "mirror", "multipath", "raid", "snapshot", "snapshot-merge", "snapshot-origin",
		"thin-pool", "vdo", "writecache", "zoned",
	} {
		r := request(volume("a", 0))
		o := &r.Volumes[0].Origin
		o.Table = append(linear(252, 0, 0, 8), targets.Row{Start: 8, Length: gib - 8, Target: targets.Raw{Kind: kind}})
		_, err := plan.Create(r)
		refused(t, err, plan.Unsupported, "a "+kind+" target", o.Path)
	}
	for _, kind := range []string{"linear", "striped", "crypt", "thin", "zero", "error", "verity"} {
		r := request(volume("a", 0))
		r.Volumes[0].Origin.Table = targets.Table{{Length: gib, Target: targets.Raw{Kind: kind}}}
		if _, err := plan.Create(r); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// TestHandoverRefusals: copies that are not whole, or that a second table would
// begin to make whole again.
func TestHandoverRefusals(t *testing.T) {
	const raid, mirror = "raid1 3 0 region_size 4096 2 254:90 254:91 254:92 254:93", "disk 2 254:90 1024 2 254:91 0 254:92 0 1 handle_errors"
	const wholeRaid, wholeMirror = "raid1 2 AA 8/8 idle 0 0 -", "2 254:91 254:92 8/8 1 AA 3 disk 254:90 A"
	for name, row := range map[string]struct {
		kind, params, status string
		refusal              plan.Kind // "": none
		says                 string
	}{
		"raid":            {"raid", raid, wholeRaid, "", ""},
		"mirror":          {"mirror", mirror, wholeMirror, "", ""},
		"nosync":          {"mirror", "core 2 1024 nosync 2 254:91 0 254:92 0", "2 254:91 254:92 8/8 1 AA 1 core", "", ""},
		"degraded":        {"raid", raid, "raid1 2 AD 8/8 idle 0 0 -", plan.Busy, "devices AD"},
		"resync":          {"raid", raid, "raid1 2 aa 4/8 resync 0 0 -", plan.Busy, "4 of 8 in sync, resync in progress"},
		"scrub":           {"raid", raid, "raid1 2 AA 8/8 check 0 0 -", plan.Busy, "check in progress"},
		"rebuild":         {"raid", "raid1 4 0 rebuild 1 2 254:90 254:91 254:92 254:93", wholeRaid, plan.Busy, "says rebuild"},
		"mirror copying":  {"mirror", mirror, "2 254:91 254:92 7/8 1 AA 3 disk 254:90 A", plan.Busy, "7 of 8"},
		"mirror degraded": {"mirror", mirror, "2 254:91 254:92 8/8 1 AD 3 disk 254:90 A", plan.Busy, "devices AD"},
		"log in memory":   {"mirror", "core 1 1024 2 254:91 0 254:92 0", "2 254:91 254:92 8/8 1 AA 1 core", plan.Unsupported, "without a log on disk"},
		"no parameters":   {"mirror", "", wholeMirror, plan.Unsupported, "without a log on disk"},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(volume("a", 0))
			o := &r.Volumes[0].Origin
			o.Table, o.Status = targets.Single(gib, targets.Raw{Kind: row.kind, Text: row.params}), row.status
			_, err := plan.Create(r)
			if row.refusal != "" {
				refused(t, err, row.refusal, row.says, o.Path)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("no status", func(t *testing.T) {
		r := request(volume("a", 0, copied))
		r.Volumes[0].Origin.Status = ""
		if _, err := plan.Create(r); err == nil {
			t.Error("planned without knowing")
		}
	})
	t.Run("above another of the set", func(t *testing.T) {
		r := request(volume("a", 0), volume("b", 1, copied))
		r.Volumes[1].Origin.Beneath = []targets.DevNo{r.Volumes[1].Origin.Dev, r.Volumes[0].Origin.Dev}
		_, err := plan.Create(r)
		refused(t, err, plan.Unsupported, "at the same time", "/dev/mapper/vg-b")
	})
}

// TestSectorsOfFourKiB: an origin and a store with large sectors go together.
func TestSectorsOfFourKiB(t *testing.T) {
	r := request(volume("a", 0))
	r.Volumes[0].Origin.LogicalBlock, r.Volumes[0].Store.LogicalBlock = 4096, 4096
	if _, err := plan.Create(r); err != nil {
		t.Error(err)
	}
	r.Volumes[0].Origin.LogicalBlock, r.Volumes[0].Store.LogicalBlock = 0, 0 // not known
	if _, err := plan.Create(r); err != nil {
		t.Error(err)
	}
}
