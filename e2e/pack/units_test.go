package pack

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const dist = "../../cmd/dmsnap/dist"

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func units(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.service", "*.timer", "*.socket"} {
		found, err := filepath.Glob(filepath.Join(dist, pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// TestUnitsArePackaged: every unit is in the package, and what an administrator can
// enable is disabled when the package goes.
func TestUnitsArePackaged(t *testing.T) {
	work := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(work, "man"), 0o700), os.WriteFile(filepath.Join(work, "man", "dmsnap.8"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	b := builder{Options: Options{Source: "../.."}, work: work}
	c, err := b.command("amd64", "/dev/null")
	if c == nil {
		t.Fatal(err)
	}
	prerm := read(t, filepath.Join(dist, "prerm"))
	for _, unit := range units(t) {
		name := filepath.Base(unit)
		if !slices.ContainsFunc(c.Files, func(f file) bool { return f.Target == "/usr/lib/systemd/system/"+name }) {
			t.Errorf("%s is not in the package", name)
		}
		if strings.Contains(read(t, unit), "[Install]") && !strings.Contains(prerm, name) {
			t.Errorf("%s stays enabled when the package is removed", name)
		}
	}
}

// TestServicesAreBounded: what runs as root has only what it needs, and is not ended
// together with its guard. Nobody knows what the command of a profile needs.
func TestServicesAreBounded(t *testing.T) {
	for _, unit := range units(t) {
		if filepath.Ext(unit) != ".service" {
			continue
		}
		bounds := []string{"KillMode="}
		if filepath.Base(unit) != "dmsnap@.service" {
			bounds = append(bounds, "CapabilityBoundingSet=", "NoNewPrivileges=yes", "SystemCallFilter=")
		}
		for _, line := range bounds {
			if !strings.Contains(read(t, unit), "\n"+line) {
				t.Errorf("%s lacks %s", unit, line)
			}
		}
	}
}

// TestRecordsOutliveThePackage: what says which files are stores stays while there is a set,
// also one that has no devices since a reboot ended it.
func TestRecordsOutliveThePackage(t *testing.T) {
	root := t.TempDir()
	state := filepath.Join(root, "var/lib/dmsnap")
	record := filepath.Join(state, "sets/nightly.json")
	if err := errors.Join(os.MkdirAll(filepath.Dir(record), 0o700), os.WriteFile(record, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	call := func(script, event string) (string, error) {
		text := strings.NewReplacer("/var/lib/", root+"/var/lib/", "/dev/mapper/", root+"/dev/mapper/", "/run/systemd/", root+"/run/systemd/").Replace(read(t, filepath.Join(dist, script)))
		out, err := exec.Command("sh", "-c", text, script, event).CombinedOutput()
		return string(out), err
	}
	for _, event := range []string{"remove", "0"} {
		if out, err := call("prerm", event); err == nil || !strings.Contains(out, "nightly") {
			t.Errorf("prerm %s: %v\n%s", event, err, out)
		}
	}
	if out, err := call("postrm", "purge"); err != nil || !strings.Contains(out, "stays") {
		t.Errorf("purge: %v\n%s", err, out)
	}
	if err := os.Remove(record); err != nil {
		t.Fatalf("its record: %v", err)
	}
	for _, c := range [][2]string{{"prerm", "remove"}, {"postrm", "purge"}} {
		if out, err := call(c[0], c[1]); err != nil {
			t.Errorf("%s: %v\n%s", c, err, out)
		}
	}
	if _, err := os.Stat(state); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v: not purged", err)
	}
}
