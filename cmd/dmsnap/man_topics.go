package main

import (
	"strings"

	"github.com/dmsnap/dmsnap/dm"
)

// configPage is dmsnap.conf(5): the keys are those that the parser knows.
func configPage() string {
	p := newPage("dmsnap.conf", 5, "defaults of dmsnap create and monitor")
	p.section("SYNOPSIS")
	p.line(".I " + defaultConfig)
	p.section("DESCRIPTION")
	p.paragraphs(
		"The file consists of lines KEY = VALUE, comments that begin with # or ;, and empty lines. Lines above the first section "+
			"apply to all origins. Lines below a line [ORIGIN] apply to that origin and override the lines above, key by key.",
		"ORIGIN is the path of a block device, a mount point, UUID=, LABEL=, PARTUUID= or PARTLABEL=: any name that leads to "+
			"the same device. A section whose origin does not exist is ignored.",
		"Lines below a line [monitor] stand for the options of dmsnap monitor that were not given to it, by their long names.",
		"The file need not exist unless it is named with --config. An unknown or repeated key is an error that names "+
			"the file and the line, with exit status 2. Only what makes or watches stores reads the file: dmsnap create, exec, run and monitor. A mistake in it never "+
			"keeps a set from being removed.",
	)
	p.section("KEYS")
	for _, k := range configKeys() {
		p.itemWithValue(k.name, k.value, k.help)
	}
	p.line(".PP")
	p.text("SIZE is a number followed by k, m, g or t, in powers of 1024, or by %.")
	p.section("EXAMPLES")
	p.example(strings.Split(strings.TrimSpace(configExample), "\n"))
	p.section("FILES")
	p.item(defaultConfig, "", "Read when --config is not given.")
	p.section("SEE ALSO")
	p.seeAlso([]string{"dmsnap.8", "dmsnap-create.8", "dmsnap-hooks.7"})
	return p.String()
}

// configExample is a file that the parser takes.
const configExample = `
store = /dev/vg/snap
store = file:/srv/snap
reserve = 10%

[/home]
limit = 20g
chunk = 16k

[monitor]
threshold = 60
textfile = /var/lib/prometheus/node-exporter/dmsnap.prom
`

// hookEvents are the arguments a hook is called with.
func hookEvents() []struct{ name, help string } {
	return []struct{ name, help string }{
		{"pre-freeze", "Everything is prepared; the filesystems are about to be synced, then frozen. Hooks are called in the order of their numbers."},
		{"post-thaw", "Writers run again and the set exists. Hooks are called in reverse order."},
		{"abort", "No snapshot was taken. Hooks are called in reverse order."},
	}
}

// hookExample quiesces nothing.
const hookExample = `
#!/bin/sh
read -r set
case "$1" in
pre-freeze) echo "a snapshot is about to be taken" ;;
post-thaw | abort) echo "it is over" ;;
esac
`

func hooksPage() string {
	p := newPage("dmsnap-hooks", 7, "programs that quiesce applications for a snapshot")
	p.section("SYNOPSIS")
	p.line(".I " + dm.DefaultHookDir + "/NN-NAME")
	p.section("DESCRIPTION")
	p.paragraphs(
		"A frozen filesystem is consistent, but data that applications hold in memory is not on it. A hook tells an application that a "+
			"snapshot is about to be taken, and that it has been taken. It is a program whose name begins with two digits, in "+
			dm.DefaultHookDir+" or in the directory given with --hooks. Other files there are ignored.",
		"A hook and every directory above it must belong to root, must not be writable by others, and must not be symbolic links; "+
			"otherwise no hook is run at all and no snapshot is taken.",
		"A hook runs as root in / with a minimal environment. It exits with status 0 on success; otherwise the last line it "+
			"printed is shown. Each call is limited to --hook-timeout; after that its process group gets SIGTERM, and "+
			"SIGKILL 2 s later.",
	)
	p.section("EVENTS")
	p.text("The event is the only argument.")
	for _, e := range hookEvents() {
		p.item(e.name, "", e.help)
	}
	p.line(".PP")
	p.text("A hook that was called with pre-freeze is called with post-thaw or abort, also if it failed, and also if dmsnap was " +
		"killed in between: then dmsnap recover, or the next command that changes something, calls it. After a kill, abort may " +
		"be called a second time, or after post-thaw; a hook must tolerate that.")
	p.section("INPUT")
	p.text("Standard input is one line of JSON, shown here on several.")
	p.example([]string{
		`{"schema_version":1,"event":"pre-freeze","set":{`,
		`  "name":"nightly","uuid":"...","labels":{},"volumes":[{`,
		`    "name":"vg-home","origin":"/dev/mapper/vg-home","mountpoints":["/home"],`,
		`    "device":"/dev/mapper/dmsnap-nightly-vg-home"}]}}`,
	})
	p.section("HOLDING")
	p.paragraphs(
		"A lock that must be kept while the snapshot is taken needs a process that keeps it. Such a hook does not exit at pre-freeze: it prints "+
			"a line \"ready\" when it has the lock, and unlocks when its standard input is closed. Then it exits, and is called with "+
			"post-thaw or abort like any other. If dmsnap dies the input is closed too, so no lock outlives it. A hook that exits "+
			"before its input is closed counts as failed.",
		"Between \"ready\" and the end of its input a hook must not write to the filesystems being frozen, nor print anything.",
	)
	p.section("FAILURES")
	p.paragraphs(
		"If a hook fails at pre-freeze and --consistency is app or auto, no snapshot is taken: exit status 8. With fs "+
			"or crash the snapshot is taken nevertheless, and its receipt names the failed hook: exit status 9.",
		"A failure at post-thaw does not affect the set: exit status 9. A failure at abort gives exit status 11, and "+
			"dmsnap recover calls the hook again.",
	)
	p.section("EXAMPLES")
	p.example(strings.Split(strings.TrimSpace(hookExample), "\n"))
	p.section("FILES")
	p.item(dm.DefaultHookDir, "", "Hooks of every snapshot that the command takes.")
	p.section("SEE ALSO")
	p.seeAlso([]string{"dmsnap.8", "dmsnap-create.8", "dmsnap-recover.8", "dmsnap.conf.5"})
	return p.String()
}
