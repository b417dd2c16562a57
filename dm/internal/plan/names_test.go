package plan_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

const (
	maxDMName  = 127 // DM_NAME_LEN less the NUL
	maxSetName = 64
)

// kept is what libdm does not mangle.
const kept = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789#+-.:=@_"

var longestSet = strings.Repeat("s", maxSetName)

func TestCheckSetName(t *testing.T) {
	for _, good := range []string{
		"a", "7", "nightly", "2026-01-31", "snap-20260131-235959", "A.b", "a..", "#1", "+x", "=x", ":x", "@x", "_x", "basement", "based",
		"storefront", "frontend", "erased", "a-base", "Base", longestSet,
	} {
		if err := plan.CheckSetName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", ".", "..", "...", ".hidden", "-x", "--", "a/b", "/", "../x", "a b", "a\tb", "a\nb", "a\x00b", "ä", "日", "a\xff", `a\x20`, "a*", "a,b", "a%b", "$a", "a;b", "a'b", `a"b`, "a|b",
		"base", "base-x", "store", "store-x", "front", "front-", "era", "era-home", longestSet + "s",
	} {
		if err := plan.CheckSetName(bad); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzCheckSetName: a record is a file of that name, and no image of the set has
// the name of a hidden device.
func FuzzCheckSetName(f *testing.F) {
	for _, s := range []string{"nightly", ".", "base-", "a/b", longestSet} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if plan.CheckSetName(name) != nil {
			return
		}
		if name == "" || name[0] == '.' || len(name) > maxSetName || strings.ContainsAny(name, "/\x00 \n\\") || !utf8.ValidString(name) {
			t.Errorf("accepts %q", name)
		}
		for _, hidden := range []string{plan.BaseName("v"), plan.StoreName("s", "v"), "dmsnap-front-v", "dmsnap-era-v"} {
			if volume, clash := strings.CutPrefix(hidden, plan.ImageName(name, "")); clash {
				t.Errorf("set %q has an image of %q by the name %s", name, volume, hidden)
			}
		}
	})
}

func TestVolumeName(t *testing.T) {
	const room = maxDMName - len("dmsnap-store-") - maxSetName - len("-")
	full := strings.Repeat("v", room)
	for _, same := range []string{"vg-home", "luks-0a1b", "a.b+c=d:e@f_g#h", full} {
		if got := plan.VolumeName(same); got != same {
			t.Errorf("%q becomes %q", same, got)
		}
	}
	for _, changed := range []string{"a b", "a/b", `a\x20b`, "ä", "a\xff", full + "v", full + "w", strings.Repeat("v", maxDMName)} {
		got := plan.VolumeName(changed)
		if got == changed || len(got) > room {
			t.Errorf("%q becomes %q", changed, got)
		}
	}
	// Names that clean up alike, or differ only in what is cut, stay apart.
	seen := map[string]string{}
	for _, name := range []string{"a b", "a\tb", "a_b", "a/b", full + "v", full + "w", full, "ä", "ö"} {
		got := plan.VolumeName(name)
		if other, twice := seen[got]; twice {
			t.Errorf("%q and %q are both %q", name, other, got)
		}
		seen[got] = name
	}
}

func FuzzVolumeName(f *testing.F) {
	for _, s := range [][2]string{{"vg-home", "vg-home2"}, {"a b", "a_b"}, {strings.Repeat("ü", 70), ""}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := plan.VolumeName(a), plan.VolumeName(b)
		// Only a name that already looks like our own result can meet another.
		if a != b && x == y && x != a && y != b {
			t.Errorf("%q and %q are both %q", a, b, x)
		}
		for _, name := range []string{plan.BaseName(x), plan.StoreName(longestSet, x), plan.ImageName(longestSet, x), "dmsnap-front-" + x, "dmsnap-era-" + x} {
			if len(name) > maxDMName {
				t.Errorf("%q: %s has %d bytes", a, name, len(name))
			}
			if strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(kept, r) }) {
				t.Errorf("%q: libdm would mangle %s", a, name)
			}
		}
	})
}

func TestUUIDs(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	for uuid, want := range map[string]struct {
		volume int
		role   plan.Role
	}{
		plan.BaseUUID(id):                              {-1, plan.RoleBase},
		plan.MemberUUID(id, 0, plan.RoleStore):         {0, plan.RoleStore},
		plan.MemberUUID(id, 0, plan.RoleImage):         {0, plan.RoleImage},
		plan.MemberUUID(id, 12, plan.RoleImage):        {12, plan.RoleImage},
		plan.MemberUUID(id, 1<<31-1, plan.RoleStore):   {1<<31 - 1, plan.RoleStore},
		"DMSNAP-" + id + ".3-image":                    {3, plan.RoleImage},
		"DMSNAP-0123456789abcdef0123456789abcdef-base": {-1, plan.RoleBase},
		plan.FrontUUID(id):                             {-1, plan.RoleFront},
	} {
		gotID, volume, role, ok := plan.ParseUUID(uuid)
		if !ok || gotID != id || volume != want.volume || role != want.role || len(uuid) > 128 {
			t.Errorf("%s: %q %d %q %v", uuid, gotID, volume, role, ok)
		}
	}
	for _, foreign := range []string{
		"", "LVM-abc", "DMSNAP-", "DMSNAP--base", "dmsnap-x-base", "DMSNAP-x", "DMSNAP-x-", "DMSNAP-x-cow", "DMSNAP-x-image",
		"DMSNAP-x.-image", "DMSNAP-x.y-image", "DMSNAP-x.-1-image", "DMSNAP-x.+1-image", "DMSNAP-x.01-store", "DMSNAP-.1-store", "DMSNAP-x.1.2-image",
		"DMSNAP-x.99999999999999999999-image", "CRYPT-DMSNAP-x-base", "DMSNAP-x.0-image ",
	} {
		if id, volume, role, ok := plan.ParseUUID(foreign); ok || id != "" || role != "" {
			t.Errorf("%q is taken for ours: %q %d %q", foreign, id, volume, role)
		}
	}
}

func FuzzParseUUID(f *testing.F) {
	f.Add("DMSNAP-5e7.0-image")
	f.Add("DMSNAP-5e7-base")
	f.Add("DMSNAP-5e7.+0-store")
	f.Fuzz(func(t *testing.T, uuid string) {
		id, volume, role, ok := plan.ParseUUID(uuid)
		if !ok {
			return
		}
		again := plan.MemberUUID(id, volume, role)
		if volume == -1 {
			again = plan.BaseUUID(id)
		}
		if again != uuid || id == "" {
			t.Errorf("%q is read as %q", uuid, again)
		}
	})
}
