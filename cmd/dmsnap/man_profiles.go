package main

import (
	"strings"

	"github.com/dmsnap/dmsnap/dm"
)

// profilesPage is dmsnap-profiles(5): the keys are those that the parser knows.
func profilesPage() string {
	p := newPage("dmsnap-profiles", 5, "what dmsnap run does by a name")
	p.section("SYNOPSIS")
	p.line(".I /etc/dmsnap/" + profileSubdir + "/NAME.conf")
	p.section("DESCRIPTION")
	p.paragraphs(
		"A profile is a file of lines KEY = VALUE, comments that begin with # or ;, and empty lines. dmsnap run NAME does what it says, "+
			"and dmsnap@NAME.timer has it done every night. The files are in a directory "+profileSubdir+" beside the configuration file.",
		"With a command the profile stands for dmsnap exec, and without one for dmsnap create. Every option of that command that has a long name "+
			"is a key too, as far as it makes sense here: \"size = 20g\" is --size 20g, and \"only = yes\" is --only. Those that may be repeated there may be repeated here.",
		"A set of a profile has the label profile=NAME; one that stays is called NAME-DATE-TIME.",
		"An unknown or repeated key is an error that names the file and the line, with exit status 2; nothing is done then.",
	)
	p.section("KEYS")
	for _, k := range profileKeys() {
		p.itemWithValue(k.name, k.value, k.help)
	}
	p.section("KEEP RULES")
	p.paragraphs(
		"A set stays if one rule keeps it. Hours, days and weeks are those of the local time zone, a week begins on Monday, and an hour that the end of summer time repeats is two. "+
			"Periods without a set do not count, so nothing goes because the machine was off.",
		"The newest set always stays, and so do sets that are on hold or mounted, and those dated in the future, as after the clock was set back. "+
			"A set whose image is lost goes. dmsnap prune NAME --dry-run tells what would become of each, and why.",
	)
	p.section("NOTIFICATIONS")
	p.text("What notify and on-failure name is run as the user of dmsnap, for a minute at most, with DMSNAP_PROFILE and DMSNAP_EXIT in its environment and the JSON of the result on standard input, " +
		"key \"runs\". If it fails, the run counts as partly done. A service that systemd ends itself cannot tell of it: use OnFailure= in a drop-in of dmsnap@NAME.service for that.")
	p.section("EXAMPLES")
	p.example(strings.Split(strings.TrimSpace(profileExample), "\n"))
	p.section("FILES")
	p.item("/etc/dmsnap/"+profileSubdir, "", "The profiles.")
	p.item(dm.DefaultStateDir+"/runs", "", "What is remembered of the last runs.")
	p.section("SEE ALSO")
	p.seeAlso([]string{"dmsnap-run.8", "dmsnap-prune.8", "dmsnap-exec.8", "dmsnap-create.8", "dmsnap.conf.5"})
	return p.String()
}

// profileExample is a file that the parser takes.
const profileExample = `
origin = /
origin = /home
command = restic backup --one-file-system / /home
retries = 2
on-failure = sh -c 'mail -s "backup failed" root'
`
