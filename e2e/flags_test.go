package main

import (
	"slices"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/vm"
)

func TestParseDisk(t *testing.T) {
	want := vm.Disk{Size: 16 << 40, SectorSize: 4096, Cache: "unsafe"}
	if got, err := parseDisk("16T,bs=4096,cache=unsafe"); got != want || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	for _, text := range []string{"", "g", "-1g", "0", "1x", "1g,color=red", "1g,bs=big", "9999999999999g"} {
		if disk, err := parseDisk(text); err == nil {
			t.Errorf("%q gave %v", text, disk)
		}
	}
}

func TestPassedEnv(t *testing.T) {
	environ := []string{"PATH=/x", "DMSNAP_BIN=/y", "DMSNAP_CACHE=/z", "GODEBUG=a=1", "HOME=/h"}
	if got := passedEnv(environ); !slices.Equal(got, []string{"DMSNAP_BIN=/y", "GODEBUG=a=1"}) {
		t.Errorf("got %q", got)
	}
}

func TestChooseRound(t *testing.T) {
	packages := []testPackage{{path: "m/dm/run"}, {path: "m/e2e/run"}, {path: "m/dm"}}
	if got := chooseRound(packages, "0/"); !slices.Equal(got, []string{"m/dm/run", "m/dm"}) {
		t.Errorf("first round %q", got)
	}
	if got := chooseRound(packages, "1/"); !slices.Equal(got, []string{"m/e2e/run"}) {
		t.Errorf("second round %q", got)
	}
	if got := chooseRound(packages, "2/"); got != nil || packages[1].binary != "1/run.test" {
		t.Errorf("third round %q, %v", got, packages)
	}
}

func TestMatrixDefault(t *testing.T) {
	flags, err := parseTest(nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, kernel := range flags.matrix() {
		names = append(names, kernel.Name)
	}
	if !slices.Equal(names, []string{"6.1", "6.12"}) || !flags.udev || len(flags.disks) == 0 {
		t.Errorf("default run is %q, %+v", names, flags)
	}
}

func TestAllTakesEveryKernelAtFullLength(t *testing.T) {
	normal, err := parseTest(nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := parseTest([]string{"--all"})
	if err != nil || len(all.matrix()) != len(vm.KernelsOf(vm.Long)) || !slices.Contains(all.env(), "DMSNAP_FULL=1") || all.timeout <= normal.timeout {
		t.Errorf("all is %+v, %v", all, err)
	}
	if len(normal.env()) != 0 {
		t.Errorf("a normal run passes %q", normal.env())
	}
	one, err := parseTest([]string{"--all", "--kernel", "sid"})
	if err != nil || len(one.matrix()) != 1 || one.matrix()[0].Name != "sid" {
		t.Errorf("all on one kernel is %v, %v", one.matrix(), err)
	}
}
