package main

import (
	"strings"

	"github.com/dmsnap/dmsnap/dm"
)

// configPage is dmsnap.conf(5): the keys are those that the parser knows.
func configPage() string {
	p := newPage("dmsnap.conf", 5, "what dmsnap chooses for a set where flags leave it open")
	p.section("SYNOPSIS")
	p.line(".I " + defaultConfig)
	p.section("DESCRIPTION")
	p.paragraphs(
		"The file has lines KEY = VALUE, comments, which begin with # or ;, and empty lines. Lines above the first section are "+
			"for all origins. Those below a line [ORIGIN] are for that origin, and take the place of the lines above key by key.",
		"ORIGIN is the path of a block device, a mount point, UUID=, LABEL=, PARTUUID= or PARTLABEL=: any name that leads to "+
			"the same device. One that is not there today is passed over.",
		"The file need not exist, unless it is named with --config. What is not known or said twice is an error, which names "+
			"the file and the line, and the command ends with exit status 2. Only dmsnap create reads it: a broken file keeps "+
			"nobody from removing a set.",
	)
	p.section("KEYS")
	for _, k := range configKeys() {
		p.itemWithValue(k.name, k.value, k.help)
	}
	p.line(".PP")
	p.text("SIZE is a number with k, m, g or t, in powers of 1024, or with %.")
	p.section("EXAMPLES")
	p.example(strings.Split(strings.TrimSpace(configExample), "\n"))
	p.section("FILES")
	p.item(defaultConfig, "", "The file that is read without --config.")
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
`

// hookEvents are the arguments a hook is called with.
func hookEvents() []struct{ name, help string } {
	return []struct{ name, help string }{
		{"pre-freeze", "Everything is prepared; next the filesystems are synced, then frozen. Hooks are called by number."},
		{"post-thaw", "Writers run again and the set exists. Hooks are called in reverse order."},
		{"abort", "The set was not made. Hooks are called in reverse order."},
	}
}

// hookExample quiesces nothing.
const hookExample = `
#!/bin/sh
read -r set
case "$1" in
pre-freeze) echo "a cut is about to be made" ;;
post-thaw | abort) echo "it is over" ;;
esac
`

func hooksPage() string {
	p := newPage("dmsnap-hooks", 7, "programs that quiesce applications for a cut")
	p.section("SYNOPSIS")
	p.line(".I " + dm.DefaultHookDir + "/NN-NAME")
	p.section("DESCRIPTION")
	p.paragraphs(
		"A frozen filesystem is whole, but what applications hold in memory is not on it. A hook tells an application that a "+
			"cut is about to be made, and that it has been made. It is a program whose name begins with two digits, in "+
			dm.DefaultHookDir+" or in the directory that --hooks names. Other files there are not looked at.",
		"A hook and every directory above it must belong to root, be writable by nobody else, and be no symbolic link; "+
			"otherwise no hook is run at all, and nothing is taken.",
		"A hook runs as root in / with a plain environment. It ends with status 0 if it did its part; else the last line it "+
			"printed is shown. Each call may take as long as --hook-timeout says; then its process group gets SIGTERM, and "+
			"SIGKILL 2 s later.",
	)
	p.section("EVENTS")
	p.text("The event is the only argument.")
	for _, e := range hookEvents() {
		p.item(e.name, "", e.help)
	}
	p.line(".PP")
	p.text("Whoever was called with pre-freeze is called with post-thaw or abort, also if it failed, and also if dmsnap was " +
		"killed meanwhile: then dmsnap recover, or the next command that changes something, calls it. After a kill abort may " +
		"come a second time, or after post-thaw; a hook must bear that.")
	p.section("INPUT")
	p.text("Standard input has one line of JSON, shown here on several.")
	p.example([]string{
		`{"schema_version":1,"event":"pre-freeze","set":{`,
		`  "name":"nightly","uuid":"...","labels":{},"volumes":[{`,
		`    "name":"vg-home","origin":"/dev/mapper/vg-home","mountpoints":["/home"],`,
		`    "device":"/dev/mapper/dmsnap-nightly-vg-home"}]}}`,
	})
	p.section("HOLDING")
	p.paragraphs(
		"What must stay locked through the cut needs a process that holds it. Such a hook does not end at pre-freeze: it prints "+
			"a line \"ready\" when it holds, and lets go when its standard input is closed. Then it ends, and is called with "+
			"post-thaw or abort as any other. If dmsnap dies the input is closed too, so no lock outlives it. A hook that ends "+
			"before it was told to has held nothing, and counts as failed.",
		"Between \"ready\" and its release a hook must not write to what is frozen, and print nothing.",
	)
	p.section("FAILURES")
	p.paragraphs(
		"A hook that fails at pre-freeze ends the cut if --consistency is app, or auto: nothing is taken, exit status 8. With fs "+
			"or crash the set is taken without what the hook does; its receipt says which failed; exit status 9.",
		"One that fails at post-thaw changes nothing of the set: exit status 9. One that fails at abort gives exit status 11, and "+
			"dmsnap recover calls it again.",
	)
	p.section("EXAMPLES")
	p.example(strings.Split(strings.TrimSpace(hookExample), "\n"))
	p.section("FILES")
	p.item(dm.DefaultHookDir, "", "Hooks of every cut that the command makes.")
	p.section("SEE ALSO")
	p.seeAlso([]string{"dmsnap.8", "dmsnap-create.8", "dmsnap-recover.8", "dmsnap.conf.5"})
	return p.String()
}
