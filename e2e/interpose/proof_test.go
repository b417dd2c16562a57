package interpose

import (
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestProof has the module prove that bios to the device come by the base, while they do and when they no longer do.
func TestProof(t *testing.T) {
	lab.LoadModule(t)
	disks := lab.Disks(t, 2)
	plain := lab.Partition(t, disks[0], 1, 1, 64)
	r := newRig(t, "proof", plain)
	refused(t, "dmsetup", "message", r.base, "0", "prove")
	r.attach()
	lab.Run(t, "dmsetup", "message", r.base, "0", "prove")
	if _, _, state := r.fullStatus(); state != "" {
		t.Errorf("state %q", state)
	}

	// Another program replaces the front's table: writes go elsewhere, and nothing counts them.
	lab.Run(t, "dmsetup", "suspend", r.front)
	if out := refused(t, "dmsetup", "message", r.base, "0", "prove"); !strings.Contains(out, "Input/output error") {
		t.Errorf("with the front suspended: %s", out)
	}
	lab.Run(t, "dmsetup", "load", r.front, "--table", "0 "+r.sectors+" linear "+disks[1]+" 0")
	lab.Run(t, "dmsetup", "resume", r.front)
	if out := refused(t, "dmsetup", "message", r.base, "0", "prove"); !strings.Contains(out, "severed") {
		t.Errorf("with a front that leads elsewhere: %s", out)
	}
	if _, _, state := r.fullStatus(); state != "lost" {
		t.Errorf("state %q, want lost", state)
	}
	r.detach()
	if front, _, state := r.fullStatus(); front != "-" || state != "" {
		t.Errorf("after detach: %s %s", front, state)
	}
	lab.Run(t, "dmsetup", "load", r.front, "--table", r.table(r.front))
	lab.Run(t, "dmsetup", "resume", r.front)
}

// TestFrontsThatMisplace offers fronts that are right for the first block only, or change what they read.
func TestFrontsThatMisplace(t *testing.T) {
	lab.LoadModule(t)
	plain := lab.Partition(t, lab.Disks(t, 1)[0], 1, 1, 64)
	r := newRig(t, "misplace", plain)
	base := "/dev/mapper/" + r.base
	for name, table := range map[string]string{
		"last":   "0 65536 linear " + base + " 0\n65536 65536 linear " + base + " 0\n",
		"halves": "0 65536 linear " + base + " 65536\n65536 65536 linear " + base + " 0\n",
		"crypt":  "0 131072 crypt aes-xts-plain64 " + strings.Repeat("5a", 64) + " 0 " + base + " 0",
	} {
		r.create(name, table)
		out := refused(t, "dmsetup", "message", r.base, "0", "attach", "/dev/mapper/"+name)
		if !strings.Contains(out, "cross-device") {
			t.Errorf("%s: %s", name, out)
		}
		if front, _, state := r.fullStatus(); front != "-" || state != "" {
			t.Errorf("%s: attached to %s %s", name, front, state)
		}
	}
	// A front of several rows that keeps each block where it is may be attached.
	r.create("pieces", "0 65536 linear "+base+" 0\n65536 65536 linear "+base+" 65536\n")
	lab.Run(t, "dmsetup", "message", r.base, "0", "attach", "/dev/mapper/pieces")
	r.detach()
}

// TestProvedWhenAttached has a front that is right for the first proof, which is a read of itself, and wrong for the second, of
// the device: bios to it do not come by the base as they should. Nothing of the attach is left then. The front changes what it
// reads from the tenth second on, and each read takes five.
func TestProvedWhenAttached(t *testing.T) {
	lab.Long(t) // it counts on reads that take seconds less than ten
	lab.Need(t)
	lab.LoadModule(t)
	plain := lab.Partition(t, lab.Disks(t, 1)[0], 1, 1, 64)
	r := newRig(t, "turns", plain)
	linear := func(below string) string { return "0 " + r.sectors + " linear /dev/mapper/" + below + " 0" }
	r.create("slow", linear(r.base))
	r.create("wrong", linear("slow"))
	load := func(name, table string) {
		lab.Run(t, "dmsetup", "load", name, "--table", table)
		lab.Run(t, "dmsetup", "resume", "--noudevsync", "--noudevrules", name) // nobody else is to read it
	}
	t.Cleanup(func() {
		load("wrong", linear("slow"))
		load("slow", linear(r.base))
	})
	lab.Run(t, "udevadm", "settle")
	load("slow", "0 "+r.sectors+" delay /dev/mapper/"+r.base+" 0 5000")
	load("wrong", "0 "+r.sectors+" flakey /dev/mapper/slow 0 10 3600 5 corrupt_bio_byte 1 r 255 0")
	if out := refused(t, "dmsetup", "message", r.base, "0", "attach", "/dev/mapper/wrong"); !strings.Contains(out, "severed") {
		t.Errorf("a redirect that was not proved: %s", out)
	}
	r.waitFor("-", "")
	if out := lab.Run(t, "dmesg"); !strings.Contains(out, "attach failed: -67") {
		t.Error("the log does not say that the attach failed")
	}
	lab.Run(t, "dd", "if=/dev/zero", "of="+plain, "bs=64k", "count=4", "oflag=direct", "conv=notrunc", "status=none")
	r.attach()
	r.detach()
}
