package pack

import (
	"errors"
	"os"
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
