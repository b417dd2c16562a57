package main

// recoveryPage is dmsnap-recovery(7).
func recoveryPage() string {
	p := newPage("dmsnap-recovery", 7, "what to do when dmsnap failed, was killed, or left something")
	p.section("DESCRIPTION")
	p.paragraphs(
		"A command that fails has changed nothing, or says what it has changed: status 9, 10 or 11. One that is interrupted by SIGINT, SIGTERM or SIGHUP "+
			"undoes what it did.",
		"If dmsnap is killed while writers are blocked, a second process, the guard, ends that: it resumes the devices and thaws the filesystems. All else is undone or "+
			"completed by dmsnap recover, or by the next command that changes something.",
	)
	p.section("WHAT TO DO")
	p.item("Exit status 11, or programs hang", "", "Run dmsnap recover at once: it thaws and resumes before it does anything else. If it cannot start or waits, run dmsnap thaw, "+
		"which needs neither locks nor the state directory, and dmsnap recover after it.")
	p.item("A set is busy and cannot be removed", "", "The message names the processes and mounts that use its images; dmsnap why NAME says more. Unmount them with dmsnap umount NAME, or end the processes.")
	p.item("A set is invalid or overflow", "", "Its store was full or failed. The origin is not affected. What was read from the image before is good, the rest is lost: remove the set, and give the next one a larger store.")
	p.item("A set is bypassed", "", "Another program reloaded the origin, so that later writes are in the image too. Remove the set.")
	p.item("A set is broken", "", "A device or a file of it is missing, as after a reboot. dmsnap recover says what is left, dmsnap remove takes it away.")
	p.item("dmsnap exec was killed", "", "Its command is killed with it. If something lives on, dmsnap recover names it with its process number; when it has ended, the set goes.")
	p.item("The state directory is lost", "", "Sets are found in the kernel's tables, under their UUIDs, and can be removed by them.")
	p.section("SEE ALSO")
	p.seeAlso([]string{"dmsnap.8", "dmsnap-recover.8", "dmsnap-thaw.8", "dmsnap-why.8", "dmsnap-remove.8", "dmsnap-concepts.7", "dmsnap-stores.7"})
	return p.String()
}
