package ioctl

import (
	_ "embed"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden is in the binary, which runs in guests that do not see the sources.
//
//go:embed testdata/requests.txt
var golden string

// TestGoldenRequests compares what each verb sends with testdata/requests.txt.
func TestGoldenRequests(t *testing.T) {
	if native.Uint16([]byte{1, 0}) != binary.LittleEndian.Uint16([]byte{1, 0}) {
		t.Skip("the golden bytes are little-endian")
	}
	var sent strings.Builder
	c := control(func(request uint32, b []byte) (int, error) {
		fmt.Fprintf(&sent, "request %#x, %d bytes\n%s", request, len(b), dump(b))
		answer(b, header{}, nil)
		return 0, nil
	})
	id := ID{Name: "vg-home"}
	ev := Event{flags: LowPriority, cookie: &Cookie{low: 0xbeef}}
	specs := []Spec{
		{Start: 0, Length: 2048, Type: "linear", Params: "253:0 384"},
		{Start: 2048, Length: 8, Type: "zero"},
	}
	for _, v := range []struct {
		name string
		run  func() error
	}{
		{"Version", func() error { _, err := c.Version(); return err }},
		{"RemoveAll", func() error { return c.RemoveAll(DeferredRemove) }},
		{"List", func() error { _, err := c.List(ID{}); return err }},
		{"List by uuid", func() error { _, err := c.List(ID{UUID: "DMSNAP-"}); return err }},
		{"Create", func() error {
			_, err := c.Create("vg-home", "LVM-x", PersistentDev, DevNo{Major: 0, Minor: 0x12345})
			return err
		}},
		{"Remove", func() error { _, err := c.Remove(id, 0, ev); return err }},
		{"Rename", func() error { _, err := c.Rename("vg-home", "vg-old", FlagsOnly(DisableDMRules)); return err }},
		{"SetUUID", func() error { _, err := c.SetUUID("vg-home", "DMSNAP-1"); return err }},
		{"Suspend", func() error { _, err := c.Suspend(id, SkipLockFS|NoFlush); return err }},
		{"Resume", func() error { _, err := c.Resume(ID{UUID: "LVM-x"}, SkipLockFS, ev); return err }},
		{"Status", func() error { _, err := c.Status(ID{Dev: DevNo{Major: 254, Minor: 0x12345}}); return err }},
		{"Wait", func() error { _, _, err := c.Wait(id, 5); return err }},
		{"Load", func() error { return c.Load(id, ReadOnly, specs) }},
		{"Clear", func() error { return c.Clear(id) }},
		{"Deps", func() error { _, err := c.Deps(id, QueryInactive); return err }},
		{"Table", func() error { _, _, err := c.Table(id, SecureData); return err }},
		{"TargetStatus", func() error { _, _, err := c.TargetStatus(id, NoFlush); return err }},
		{"TargetVersions", func() error { _, err := c.TargetVersions(); return err }},
		{"TargetVersion", func() error { _, _ = c.TargetVersion("era"); return nil }}, // an empty reply is an error
		{"Message", func() error { _, err := c.Message(id, 8, "checkpoint"); return err }},
		{"SetGeometry", func() error { return c.SetGeometry(id, 1024, 16, 63, 0) }},
		{"ArmPoll", c.ArmPoll},
	} {
		fmt.Fprintf(&sent, "\n# %s\n", v.name)
		if err := v.run(); err != nil {
			t.Errorf("%s: %v", v.name, err)
		}
	}
	got := strings.TrimLeft(sent.String(), "\n")
	if *update {
		if err := os.WriteFile("testdata/requests.txt", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != golden {
		t.Errorf("requests differ (- golden, + sent; -update rewrites):\n%s", diff(golden, got))
	}
}
