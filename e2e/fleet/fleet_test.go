package fleet

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/pack"
	"github.com/dmsnap/dmsnap/e2e/vm"
)

// TestMachineAnsible installs dmsnap on a host, on one kernel as a package and on another as a binary, and has the modules cut,
// mount and remove sets there, over ssh: with check mode, diffs, and everything asked for twice.
func TestMachineAnsible(t *testing.T) {
	skip(t)
	deb, binary := built(t)
	for kernel, what := range map[string]string{"6.1": "install_package=" + deb, "6.12": "install_binary=" + binary} {
		t.Run(kernel, func(t *testing.T) {
			k, err := vm.FindKernel(kernel)
			if err != nil {
				t.Fatal(err)
			}
			f := newFleet(t, k, "one")
			install := []string{"-e", what, "tests/integration/install.yml"}
			f.ansible(t, "ansible-playbook", append([]string{"--check"}, install...)...)
			f.ansible(t, "ansible-playbook", install...)
			if said := f.ansible(t, "ansible-playbook", install...); !strings.Contains(said, " changed=0 ") {
				t.Errorf("installed twice:\n%s", said)
			}
			f.ansible(t, "ansible-playbook", "-e", "dmsnap=dmsnap", "-e", "state=/var/lib/dmsnap", "-e", "image=/mnt/image",
				"-e", "origin=/srv/data", "-e", "store=/dev/vdb", "tests/integration/host.yml")
		})
	}
}

// built builds what hosts install.
func built(t *testing.T) (deb, binary string) {
	t.Helper()
	files, err := pack.Build(t.Context(), pack.Options{Source: "../..", Dir: t.TempDir(), Arches: []string{"amd64"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		switch {
		case strings.HasSuffix(f, "_amd64.deb"):
			deb = f
		case filepath.Base(f) == "dmsnap-amd64":
			binary = f
		}
	}
	if deb == "" || binary == "" {
		t.Fatalf("built %v", files)
	}
	return deb, binary
}

// TestMachineFleetCut cuts three hosts at one instant with the role, over ssh, while each writes. How far apart the images are is
// measured by one clock, this machine's. Then hosts fail on purpose, and nothing is left on any.
func TestMachineFleetCut(t *testing.T) {
	skip(t)
	_, binary := built(t)
	f := newFleet(t, vm.Kernels[0], "one", "two", "three")
	f.ansible(t, "ansible-playbook", "-e", "install_binary="+binary, "tests/integration/install.yml")
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
