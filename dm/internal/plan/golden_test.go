package plan_test

import (
	"embed"
	"flag"
	"fmt"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/targets"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden is in the binary, which runs in guests that do not see the sources.
//
//go:embed testdata/*.golden
var golden embed.FS

func creations() map[string]plan.CreateRequest {
	home := volume("home", 0, with(0, "ext4", plan.ByFIFREEZE, "/home"))
	again := volume("home", 0, with(0, "ext4", plan.ByFIFREEZE, "/home"), layered)
	crash := request(home)
	crash.Crash = true
	persistent := request(home)
	persistent.Mode, persistent.Writable = targets.PersistentOverflow, true
	cored := request(home)
	cored.Mode = targets.PersistentOverflow
	chained := request(volume("home", 0, layered,
		beside("hourly-1", targets.PersistentOverflow, true, true), beside("hourly-2", targets.PersistentOverflow, true, true),
		beside("transient", targets.Transient, true, true), beside("writable", targets.Persistent, false, true),
		beside("dropped", targets.Persistent, true, false)))
	chained.Mode = targets.PersistentOverflow
	apart := request(volume("home", 0, layered, beside("sunday", targets.PersistentOverflow, true, true)))
	apart.Apart = true
	hooked := request(home)
	hooked.Hooks = []string{"/etc/dmsnap/hooks.d/10-db", "/etc/dmsnap/hooks.d/20-app"}
	return map[string]plan.CreateRequest{
		"create-ext4": request(home),
		"create-nested": request( // /srv/db is frozen before /srv, and thawed after it
			volume("srv", 1, with(1, "ext4", plan.ByFIFREEZE, "/srv")),
			volume("db", 2, with(0, "xfs", plan.ByFIFREEZE, "/srv/db", "/mnt/db")),
		),
		"create-beside": request(again),
		"create-file": request( // db's store lies on home, which has images of other sets
			volume("home", 0, layered, inFile("/home/.cow", 0, plan.ImageName("older", "vg-home"))),
			volume("db", 1, inFile("/home/.cow2", 0, plan.ImageName("older", "vg-home"))),
		),
		"create-loop":       request(volume("home", 0, with(0, "ext4", plan.ByFIFREEZE, "/home"), elsewhere)),
		"create-memory":     request(volume("home", 0, inMemory)),
		"create-plain":      request(volume("", 0, plain, with(0, "ext4", plan.ByFIFREEZE, "/"))),
		"create-attached":   request(volume("", 0, attached, with(0, "ext4", plan.ByFIFREEZE, "/"))),
		"create-headed":     request(volume("disk", 0, func(v *plan.VolumeRequest) { v.Found = "other devices stand on the origin" })),
		"create-crash":      crash,
		"create-lockfs":     request(volume("boot", 0, with(0, "vfat", plan.ByLockFS, "/boot"))),
		"create-persistent": persistent,
		"create-core":       cored,
		"create-chained":    chained,
		"create-takes-over": request(volume("home", 0, layered, beside("sunday", targets.PersistentOverflow, true, true))),
		"create-apart":      apart,
		"create-hooks":      hooked,
		"create-read-only":  request(volume("home", 0, func(v *plan.VolumeRequest) { v.Origin.ReadOnly = true })),
		"create-handover": request( // the raid's base is engaged between suspends and images
			volume("home", 0, with(0, "ext4", plan.ByFIFREEZE, "/home"), copied),
			volume("var", 1),
		),
		"create-handover-beside": request(volume("home", 0, copied, layered)),
		"create-stacked": request( // crypt stands on disk; a third has nothing to do with them
			volume("disk", 0, func(v *plan.VolumeRequest) { v.Origin.Depth = 1 }),
			volume("crypt", 1, func(v *plan.VolumeRequest) {
				v.Origin.Depth, v.Origin.Table = 2, linear(254, 0, 0, gib)
			}, with(0, "ext4", plan.ByFIFREEZE, "/secret")),
			volume("other", 2),
		),
	}
}

func removals() map[string]plan.RemoveRequest {
	nothing := removal()
	nothing.Names = []string{"dmsnap-nightly-vg-home"}
	return map[string]plan.RemoveRequest{
		"remove-last":  removal(left("home", 0)),
		"remove-file":  removal(left("home", 0, filed), left("db", 1, filed)),
		"remove-first": removal(left("home", 0, notLast)),
		"remove-two":   removal(left("home", 0), left("db", 1, notLast)),
		"remove-stacked": removal(
			left("disk", 0),
			left("crypt", 1, func(v *plan.RemoveVolume) { v.Origin.Depth = 3 }),
		),
		"remove-core":              removal(left("home", 0, cored)),
		"remove-core-first":        removal(left("home", 0, cored, notLast)),
		"remove-chained":           removal(left("home", 0, cored, chainedOn)),
		"remove-read":              removal(left("home", 0, cored, readBy), left("db", 1, cored)),
		"remove-handover":          removal(left("home", 0, handedOver), left("var", 1)),
		"remove-handover-first":    removal(left("home", 0, handedOver, notLast)),
		"remove-bypassed":          removal(left("home", 0, bypassed)),
		"remove-pending":           removal(left("home", 0, pending)),
		"remove-cleared":           removal(left("home", 0, cleared)),
		"remove-pending-suspended": removal(left("home", 0, pending, suspended)),
		"remove-suspended":         removal(left("home", 0, suspended)),
		"remove-suspended-beside":  removal(left("home", 0, suspended, notLast, noDevices)),
		"remove-dead-store":        removal(left("home", 0, bypassed, deadStore)),
		"remove-spilled":           removal(left("home", 0, func(v *plan.RemoveVolume) { v.Spill = []targets.Sectors{4096, 31744} })),
		"remove-orphan-base":       removal(left("home", 0, bypassed, noDevices)),
		"remove-orphan-front":      removal(left("home", 0, noDevices)),
		"remove-nothing":           nothing,
		"remove-plain":             removal(leftPlain()),
		"remove-plain-held":        removal(leftPlain(notLast)),
		"remove-plain-suspended":   removal(leftPlain(suspended)),
		"remove-plain-detached": removal(leftPlain(func(v *plan.RemoveVolume) {
			v.Origin.Base.Redirect = targets.InterposeStatus{}
		})),
	}
}

func flattens() map[string]plan.FlattenRequest {
	return map[string]plan.FlattenRequest{
		"flatten-one": flattening(flattened("sunday", 40<<20)),
		"flatten-two": flattening(flattened("sunday", 40<<20), flattened("monday", 0)),
	}
}

func extensions() map[string]plan.ExtendRequest {
	return map[string]plan.ExtendRequest{
		"extend-one":    extension(grow("home", 0, 700<<10)),
		"extend-two":    extension(grow("home", 0, 100<<10, relative), grow("db", 1, 100<<10, relative)),
		"extend-spill":  extension(grow("home", 0, 2<<20, spilling)), // no more than it can need
		"extend-file":   extension(grow("home", 0, 700<<10, ofFile(plan.Extents))),
		"extend-loop":   extension(grow("home", 0, 700<<10, ofFile(plan.Loop))),
		"extend-memory": extension(grow("home", 0, 700<<10, ofFile(plan.Memory))),
		"extend-rest":   extension(grow("home", 0, 1, enough), grow("db", 1, 700<<10)),
	}
}

func TestGoldenPlans(t *testing.T) {
	got := map[string]string{}
	for name, r := range creations() {
		p, err := plan.Create(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got[name] = text(p)
	}
	for name, r := range removals() {
		got[name] = text(plan.Remove(r))
	}
	for name, r := range flattens() {
		p, err := plan.Flatten(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got[name] = text(p)
	}
	for name, r := range extensions() {
		p, err := plan.Extend(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got[name] = text(p)
	}
	for name, plan := range got {
		t.Run(name, func(t *testing.T) { compare(t, name+".golden", plan) })
	}
	files, err := golden.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, used := got[strings.TrimSuffix(f.Name(), ".golden")]; !used {
			t.Errorf("testdata/%s belongs to no test", f.Name())
		}
	}
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path.Join("testdata", file), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := golden.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("-want +got (go test -update writes it anew):\n%s", diff)
	}
}

// text is a whole plan, one step after the other with all that counts in it.
func text(p *plan.Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, id %s", p.Op, p.Set, p.ID)
	if p.Final {
		b.WriteString(", final")
	}
	b.WriteByte('\n')
	var phase plan.Phase
	for _, s := range p.Steps {
		if s.Phase != phase {
			phase = s.Phase
			fmt.Fprintf(&b, "\n%s\n", phase)
		}
		write(&b, "  ", "", s)
		if s.Undo != nil {
			write(&b, "      ", "undo: ", *s.Undo)
		}
	}
	return b.String()
}

func write(b *strings.Builder, indent, label string, s plan.Step) {
	b.WriteString(indent + label + s.String())
	if s.Role != "" {
		fmt.Fprintf(b, " [%s]", s.Role)
	}
	if d := s.Detail(); d != "" {
		b.WriteString(", " + d)
	}
	if f := s.Filesystem; f != nil {
		fmt.Fprintf(b, ", key %d by %s on %s", f.Key, f.Method, f.Front)
	}
	b.WriteByte('\n')
	for _, name := range s.Gone {
		fmt.Fprintf(b, "%s      no node %s\n", indent, name)
	}
	for _, row := range s.Table {
		fmt.Fprintf(b, "%s      | %s\n", indent, row)
	}
}
