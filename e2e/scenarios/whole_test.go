package scenarios

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestWholeHost takes all that is mounted, all below a directory, and a volume group. A vfat is allowed not to be proven
// frozen; what is mounted below the set and is not in it is named.
func TestWholeHost(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	lab.Group(t, "vg", disks[0])
	home := lab.LogicalVolume(t, "vg", "home", "-L", "64M")
	efi := lab.LogicalVolume(t, "vg", "efi", "-L", "64M")
	swap := lab.LogicalVolume(t, "vg", "swap", "-L", "16M")
	lab.Format(t, "ext4", home)
	lab.Format(t, "vfat", efi)
	lab.Run(t, "mkswap", swap)
	lab.Run(t, "swapon", swap)
	t.Cleanup(func() { lab.Run(t, "swapoff", swap) })
	dir := lab.Mount(t, home)
	below := filepath.Join(dir, "efi")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	lab.Run(t, "mount", efi, below)
	t.Cleanup(func() { lab.Run(t, "umount", below) })
	lab.Run(t, "mkfs.ext4", "-q", "-F", disks[1])
	plain := filepath.Join(dir, "plain")
	if err := os.Mkdir(plain, 0o755); err != nil {
		t.Fatal(err)
	}
	lab.Run(t, "mount", disks[1], plain)
	t.Cleanup(func() { lab.Run(t, "umount", plain) })

	tool := lab.NewTool(t)
	ram := []string{"--store", "ram:16m", "--except", plain}
	for name, args := range map[string][]string{
		"all":       {"--all"},
		"recursive": {"--recursive", dir},
		"group":     {"--vg", "vg"},
	} {
		args = append(append([]string{"create", "-n", name, "--json", "--allow-unproven", below}, args...), ram...)
		var out struct{ Sets []wholeSet }
		if err := json.Unmarshal([]byte(tool.OK(args...)), &out); err != nil {
			t.Fatal(err)
		}
		if got := out.Sets[0].summary(); got != "vg-efi crash, vg-home filesystem" && got != "vg-home filesystem, vg-efi crash" {
			t.Errorf("%s: %s", name, got)
		}
		if got := out.Sets[0].Receipt; !slices.Equal(got.Allowed, []string{below}) || !slices.Equal(got.Outside, []string{plain}) {
			t.Errorf("%s: %+v", name, got)
		}
		tool.OK("remove", name)
	}
	if _, errs, code := tool.Try("create", "--all", "--store", "ram:16m"); code == 0 || !strings.Contains(errs, "--except "+plain) {
		t.Errorf("a plain disk: exit %d, %s", code, errs)
	}
	if _, errs, code := tool.Try(append([]string{"create", "-n", "dirty", "--recursive", dir}, ram...)...); code != 9 || !strings.Contains(errs, below) {
		t.Errorf("a vfat that is not allowed: exit %d, %s", code, errs)
	}
	tool.OK("remove", "dirty")
	args := append([]string{"exec", "--recursive", dir, "--allow-unproven", below}, ram...)
	if out := tool.OK(append(args, "--", "findmnt", "-no", "SOURCE", "--target", below)...); !strings.Contains(out, "dmsnap-") {
		t.Errorf("exec sees %q", out)
	}
}

// wholeSet is what TestWholeHost looks at.
type wholeSet struct {
	Receipt struct {
		Allowed, Outside []string
		Volumes          []struct{ Name, Consistency string }
	}
}

func (s wholeSet) summary() string {
	var words []string
	for _, v := range s.Receipt.Volumes {
		words = append(words, v.Name+" "+v.Consistency)
	}
	return strings.Join(words, ", ")
}
