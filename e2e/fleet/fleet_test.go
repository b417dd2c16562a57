package fleet

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/pack"
	"github.com/dmsnap/dmsnap/e2e/vm"
)

// TestMachineAnsible installs the package on a host and has the modules cut, mount and remove sets there, over ssh: with check mode,
// diffs, and everything asked for twice.
func TestMachineAnsible(t *testing.T) {
	skip(t)
	deb := packages(t)
	for _, kernel := range vm.Kernels[:2] {
		t.Run(kernel.Name, func(t *testing.T) {
			f := newFleet(t, kernel, "one")
			f.install(t, deb, "--check")
			f.install(t, deb)
			if said := f.install(t, deb); !strings.Contains(said, " changed=0 ") {
				t.Errorf("installed twice:\n%s", said)
			}
			f.ansible(t, "ansible-playbook", "-e", "dmsnap=dmsnap", "-e", "state=/var/lib/dmsnap", "-e", "image=/mnt/image",
				"-e", "origin=/srv/data", "-e", "store=/dev/vdb", "tests/integration/host.yml")
		})
	}
}

// install puts the package on all hosts with the role.
func (f *fleet) install(t *testing.T, deb string, more ...string) string {
	t.Helper()
	return f.ansible(t, "ansible-playbook", append(more, "-e", "package="+deb, "tests/integration/install.yml")...)
}

// packages builds what hosts install, and returns the deb.
func packages(t *testing.T) string {
	t.Helper()
	files, err := pack.Build(t.Context(), pack.Options{Source: "../..", Dir: t.TempDir(), Arches: []string{"amd64"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f, "_amd64.deb") {
			return f
		}
	}
	t.Fatalf("no deb among %v", filepath.Base(strings.Join(files, " ")))
	return ""
}

// TestMachineFleetCut cuts three hosts at one instant with the role, over ssh, while each writes. How far apart the images are is
// measured by one clock, this machine's. Then hosts fail on purpose, and nothing is left on any.
func TestMachineFleetCut(t *testing.T) {
	skip(t)
	deb := packages(t)
	f := newFleet(t, vm.Kernels[0], "one", "two", "three")
	f.install(t, deb)
	tickers := map[string]*ticker{}
	for _, name := range f.names {
		t.Logf("%s: clock within %v of this machine's", name, f.setClock(t, name))
	}
	for _, name := range f.names {
		tickers[name] = f.tick(t, name)
	}
	said := f.ansible(t, "ansible-playbook", "-e", "origin=/srv/data", "-e", "store=/dev/vdb", "tests/integration/fleet_ssh.yml")
	for line := range strings.Lines(said) {
		if strings.Contains(line, " us apart") {
			t.Log(strings.TrimSpace(line))
		}
	}
	var earliest, latest time.Time // ends of the interval in which each image was cut
	var longest time.Duration
	for i, name := range f.names {
		k := tickers[name]
		close(k.stop)
		<-k.done
		if k.err != nil {
			t.Fatalf("%s: %v", name, k.err)
		}
		from, to := k.instant(t, f.ssh(t, name, "cat /mnt/ticks"))
		longest = max(longest, to.Sub(from))
		if i == 0 || from.Before(earliest) {
			earliest = from
		}
		if to.After(latest) {
			latest = to
		}
	}
	t.Logf("by this machine's clock all images were cut within %v; each is known to within %v", latest.Sub(earliest), longest)
	where := []string{"-e", "origin=/srv/data", "-e", "store=/dev/vdb"}
	f.ansible(t, "ansible-playbook", append(where, "-e", `{"failures": ["prepare", "cut"]}`, "tests/integration/fleet_fails.yml")...)
	f.names = append(f.names, "gone")
	f.ansible(t, "ansible-playbook", append(where, "-e", `{"failures": ["reach"]}`, "tests/integration/fleet_fails.yml")...)
}
