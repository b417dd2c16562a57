package main

// concept is a word that dmsnap uses in a sense of its own.
type concept struct {
	word     string
	standard string // what the kernel, LVM or other tools call it; empty if they have no word
	meaning  string
}

// concepts are dmsnap-concepts(7) and docs/glossary.md.
func concepts() []concept {
	return []concept{
		{"origin", "origin (kernel, LVM)", "The block device whose past is kept: a device-mapper device, or a plain one that was brought under device-mapper."},
		{"set", "snapshot set (snapm, VSS)", "What one create makes: one or more volumes, all of the same instant, removed together."},
		{"volume", "", "One origin inside a set."},
		{"image", "snapshot, visible snapshot (LVM)", "The device that users read: /dev/mapper/dmsnap-SET-VOLUME. It shows the origin as it was."},
		{"core", "snapshot (kernel), -cow pair (LVM)", "The kernel's snapshot beneath the image of a persistent set. Older sets may read through it."},
		{"store", "COW device, exception store (kernel)", "Where an old chunk is copied before its origin is overwritten: a device, a file or memory."},
		{"chunk", "chunk (kernel)", "The unit of copying, 4 KiB to 1 GiB."},
		{"exception", "exception (kernel)", "A chunk that has been copied, and where it lies in the store."},
		{"front", "snapshot-origin device (kernel)", "The device that applications write to while a set exists. Of a device-mapper origin it is the origin itself, with its own name and number."},
		{"base", "real device, -real (LVM)", "The hidden device that carries the origin's own table while a set exists; shared by all sets of the origin."},
		{"window", "critical section, freeze window", "The time in which writers are held: from the first freeze or suspend to the last thaw."},
		{"freeze, thaw", "FIFREEZE, FITHAW (kernel), fsfreeze", "Stop and restart the writes of a filesystem; what is on disk is then whole."},
		{"suspend, resume", "suspend, resume (kernel, dmsetup)", "Stop and restart a device-mapper device; a resume swaps in a table that was loaded before."},
		{"guard", "watchdog", "A second process that ends the window if dmsnap dies, stops or takes too long."},
		{"receipt", "", "What the window really did: when, for how long, and which filesystems were proven frozen."},
		{"consistency", "crash-consistent, application-consistent", "How good an image is: of applications (hooks), of frozen filesystems, or as after a power cut."},
		{"hook", "freeze/thaw script (QEMU guest agent, Veeam)", "A program that quiesces an application before the window and lets it go on afterwards."},
		{"lease", "lease", "How long a set is wanted. When it is over the set is removed; hold and release suspend that."},
		{"bypassed", "", "A set whose origin was given another table by another program: later writes are in its image too. It is never served as good."},
		{"layer", "orphaned snapshot", "What stays of a removed set because older sets read through it."},
		{"fold", "flatten (rbd), stream (QEMU)", "Copy what a layer holds into the sets above it, so that the layer can go."},
		{"attach, detach", "interpose", "Bring a plain device under device-mapper while it is in use, and end that."},
		{"journal, intent", "write-ahead log", "The record of an operation under way, on disk before its first step, from which an interrupted one is taken back or finished."},
		{"plan", "", "The ordered steps of an operation, each with its undo; what --dry-run prints."},
	}
}

// conceptsPage is dmsnap-concepts(7).
func conceptsPage() string {
	p := newPage("dmsnap-concepts", 7, "the words of dmsnap, and what other tools call them")
	p.section("DESCRIPTION")
	p.text("The words below mean one thing each, in the manual, in messages and in JSON. Behind a word stands what the kernel, LVM or " +
		"other tools call the same thing.")
	p.section("WORDS")
	for _, c := range concepts() {
		p.item(c.word, "", c.explained())
	}
	p.section("SEE ALSO")
	p.seeAlso([]string{"dmsnap.8", "dmsnap-create.8", "dmsnap-hooks.7"})
	return p.String()
}

func (c concept) explained() string {
	if c.standard == "" {
		return c.meaning
	}
	return c.meaning + " Elsewhere: " + c.standard + "."
}
