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
		{"origin", "origin (kernel, LVM)", "The block device of which snapshots are taken: a device-mapper device, or a plain one that was brought under device-mapper."},
		{"set", "snapshot set (snapm, VSS)", "The snapshots that one create takes: one or more volumes, all of the same instant, removed together."},
		{"volume", "", "One origin inside a set."},
		{"cut", "take, create a snapshot", "The instant of which a set's images are; also the second part of a create, after dmsnap prepare."},
		{"image", "snapshot, visible snapshot (LVM)", "The device that users read: /dev/mapper/dmsnap-SET-VOLUME. It shows the origin as it was."},
		{"core", "snapshot (kernel), -cow pair (LVM)", "The kernel's snapshot below the image of a persistent set. Images of older sets may read through it."},
		{"store", "COW device, exception store (kernel)", "Where a chunk is copied to before it is overwritten on the origin: a device, a file or memory."},
		{"pin", "", "What keeps the filesystem of a store's file from being unmounted while the set exists."},
		{"chunk", "chunk (kernel)", "The unit of copy-on-write, 4 KiB to 1 GiB."},
		{"exception", "exception (kernel)", "A chunk that has been copied to the store."},
		{"front", "snapshot-origin device (kernel)", "The device that applications write to while a set exists. For a device-mapper origin it is the origin itself, with its own name and number."},
		{"base", "real device, -real (LVM)", "The hidden device that has the origin's own table while a set exists; shared by all sets of the origin."},
		{"lower", "", "The hidden device beneath a base that has the table of a layer (dmsnap attach --layer)."},
		{"window", "critical section, freeze window", "The time in which writers are blocked: from the first freeze or suspend to the last thaw."},
		{"freeze, thaw", "FIFREEZE, FITHAW (kernel), fsfreeze", "Stop and restart writes to a filesystem; a frozen filesystem is consistent on disk."},
		{"suspend, resume", "suspend, resume (kernel, dmsetup)", "Stop and restart I/O to a device-mapper device; a resume activates a table that was loaded before."},
		{"guard", "watchdog", "A second process that ends the window if dmsnap dies, is stopped or exceeds the time limit."},
		{"receipt", "", "What the window really did: when, for how long, and which freezes were verified."},
		{"consistency", "crash-consistent, application-consistent", "What an image contains: prepared applications (app, with hooks), frozen filesystems (fs), or the state after a power failure (crash)."},
		{"hook", "freeze/thaw script (QEMU guest agent, Veeam)", "A program that quiesces an application before the window and resumes it afterwards."},
		{"lease", "lease", "How long a set is kept. When its lease ends, the set is removed, unless it is on hold: dmsnap hold sets that, dmsnap release undoes it."},
		{"active", "", "The state of a set whose images are what the origins were."},
		{"overflow", "Overflow (kernel)", "The state of a set whose store is full so that writes to an image were lost; what was read before is still right."},
		{"invalid", "Invalid (kernel)", "The state of a set of which the kernel dropped an image, because its store is full or failed. The origin is not harmed."},
		{"broken", "", "The state of a set of which a device or a file is missing."},
		{"bypassed", "", "The state of a set whose origin got another table from another program, so that later writes are in its image too. Such an image is never served."},
		{"layer", "orphaned snapshot", "What remains of a removed set while older sets read through it. Of an attached device: a table that all its I/O passes, such as that of dm-era (dmsnap attach --layer)."},
		{"bookmark", "bookmark (ZFS), bitmap (QEMU)", "A set of which only the list of changed chunks is kept: its store maps its data to zero. It cannot be read, and cannot overflow."},
		{"flatten", "flatten (rbd), stream (QEMU)", "Copy the contents of a layer to the sets that read through it, so that the layer can be removed. Plans and events say fold and folded."},
		{"attach, detach", "interpose", "Bring a plain device under device-mapper while it is in use, and undo that. Without the kernel module an unused device is adopted: a device-mapper device is put on top of it."},
		{"journal, intent", "write-ahead log", "The record of an operation in progress, written before its first step. With it an interrupted operation is undone or completed."},
		{"plan", "", "The ordered steps of an operation, each with its undo; printed by --dry-run."},
	}
}

// conceptsPage is dmsnap-concepts(7).
func conceptsPage() string {
	p := newPage("dmsnap-concepts", 7, "the terms of dmsnap, and what other tools call them")
	p.section("DESCRIPTION")
	p.text("Each of these terms has one meaning in the manual, in messages and in JSON. Each entry ends with what the kernel, LVM or " +
		"other tools call the same thing.")
	p.section("WORDS")
	for _, c := range concepts() {
		p.item(c.word, "", c.explained())
	}
	p.section("SEE ALSO")
	p.seeAlso([]string{"dmsnap.8", "dmsnap-create.8", "dmsnap-hooks.7", "dmsnap-recovery.7", "dmsnap-stores.7"})
	return p.String()
}

func (c concept) explained() string {
	if c.standard == "" {
		return c.meaning
	}
	return c.meaning + " Elsewhere: " + c.standard + "."
}
