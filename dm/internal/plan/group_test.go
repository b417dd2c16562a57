package plan_test

import (
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// groups: whatever changes a front of LVM's is done under the lock of its group, and
// nothing that may take long or call lvm2 is. What locks a group unlocks it.
func (c checker) groups() {
	held := map[string]bool{}
	for _, s := range c.p.Steps {
		front := s.Role == plan.RoleFront && s.Device != "" && (s.Action == plan.LoadTable || s.Action == plan.ClearTable || s.Action == plan.Suspend || s.Action == plan.Resume || s.Action == plan.Expect)
		switch {
		case s.Action == plan.LockGroup:
			if held[s.Group] || s.Undo == nil || s.Undo.Action != plan.UnlockGroup || s.Undo.Group != s.Group {
				c.errorf("%s: locked already, or for ever", s)
			}
			held[s.Group] = true
		case s.Action == plan.UnlockGroup:
			delete(held, s.Group)
		case front && !held["vg"]:
			c.errorf("%s without the lock of its group", s)
		case !front && s.Phase != plan.Window && s.Role != plan.RoleBase && s.Role != plan.RoleFront && len(held) > 0:
			c.errorf("%s with the lock of a group", s)
		}
	}
	if len(held) > 0 {
		c.errorf("locked in the end: %v", held)
	}
}

// TestGroupOfAVolume: the name of the group as lvm2 makes the device's of it.
func TestGroupOfAVolume(t *testing.T) {
	for _, tt := range []struct{ name, uuid, group string }{
		{"vg-home", "LVM-abc", "vg"},
		{"my--vg-home", "LVM-abc", "my-vg"},
		{"a----b-c--d", "LVM-abc", "a--b"},
		{"vg-pool_tdata", "LVM-abc-tdata", "vg"},
		{"vg-home-real", "LVM-abc-real", "vg"},
		{"vg-home", "CRYPT-LUKS2-abc", ""},
		{"home", "LVM-abc", ""}, // renamed by hand
		{"home-", "LVM-abc", ""},
	} {
		r := request()
		v := volume("home", 1)
		v.Origin.Name, v.Origin.UUID = tt.name, tt.uuid
		r.Volumes = []plan.VolumeRequest{v}
		p, err := plan.Create(r)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, s := range p.Steps {
			if s.Action == plan.LockGroup {
				got = s.Group
			}
		}
		if got != tt.group {
			t.Errorf("%s with uuid %s: %q, want %q", tt.name, tt.uuid, got, tt.group)
		}
	}
}

// TestGroupsInOneOrder: two sets of volumes of the same groups cannot wait for each other.
func TestGroupsInOneOrder(t *testing.T) {
	r := request()
	r.Volumes = nil
	for i, name := range []string{"zz-one", "aa-two", "zz-three", "mm-four"} {
		v := volume(name, uint32(i))
		v.Origin.Name = name
		r.Volumes = append(r.Volumes, v)
	}
	p, err := plan.Create(r)
	if err != nil {
		t.Fatal(err)
	}
	var got string
	for _, s := range p.Steps {
		if s.Action == plan.LockGroup {
			got += s.Group + " "
		}
	}
	if got != "aa mm zz " {
		t.Errorf("locked in the order %s", got)
	}
}
