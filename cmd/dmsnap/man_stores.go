package main

// storeKinds are what --store takes.
func storeKinds() []struct{ spec, help string } {
	return []struct{ spec, help string }{
		{"DEVICE", "An unused block device, which is overwritten. One that holds a known signature is refused without --force-store."},
		{"file:PATH", "A new file; if PATH is a directory, a new file in .dmsnap/ at the root of that filesystem. It may be on the filesystem of the origin (ext4 or xfs) or on another one (ext4, xfs or btrfs)."},
		{"ram, ram:LIMIT", "Memory, allocated at once and never swapped out: at most a quarter of what is available."},
		{"auto", "The first of these with enough room: the stores of the configuration, a file on the filesystem with the most free space outside the origins, a file on the origin's own filesystem, memory. This is the default."},
	}
}

// storesPage is dmsnap-stores(7).
func storesPage() string {
	p := newPage("dmsnap-stores", 7, "where dmsnap saves what is overwritten on an origin")
	p.section("DESCRIPTION")
	p.paragraphs(
		"While a set exists, the first write to each chunk of an origin waits until the chunk has been copied to the store of the volume. "+
			"The image is put together from both: chunks that were copied come from the store, all others from the origin.",
		"A store that is as large as the origin, and a little more, can never overflow. When a smaller one is full the image is lost and the set is invalid; "+
			"the origin is not affected.",
	)
	p.section("KINDS")
	p.text("--store takes one of these, for all origins or, as ORIGIN=SPEC, for one.")
	for _, k := range storeKinds() {
		p.item(k.spec, "", k.help)
	}
	p.section("CHOICE")
	p.text("Since the store is in the write path, auto does not choose a filesystem whose disk is removable, attached by USB, on the network, has no I/O timeout, " +
		"or is a rotating disk while the origin's is not. Such a store is used when it is named. Plan, set and JSON name the choice and the reason.")
	p.section("SIZE")
	p.paragraphs(
		"Without --size a device is used as far as can ever be needed. A file gets a tenth of the used space plus ten minutes of writes, at least 64 MiB and at most "+
			"half of the free space; 5 % of its filesystem stay free, at most 1 GiB.",
		"dmsnap show tells how full a store is, how fast it fills and when it will be full. dmsnap extend makes it larger, at once and without interrupting anybody; "+
			"dmsnap monitor does so in time.",
	)
	p.section("FILES OF STORES")
	p.paragraphs(
		"They belong to root and are pinned while the set exists: nobody can write, truncate, move or delete them, and their filesystem cannot be unmounted. "+
			"dmsnap unpin undoes that for a shutdown.",
		"A file on an origin's filesystem appears in the image too, where its contents mean nothing. Leave .dmsnap/ out of backups; it has a CACHEDIR.TAG. "+
			"dmsnap exec and dmsnap mount hide it where they can.",
		"A store holds old data of the origin, and is as secret as that.",
	)
	p.section("EXAMPLES")
	p.example([]string{
		"dmsnap create /home --store /dev/vdc",
		"dmsnap create /home --store file:/srv --size 20g",
		"dmsnap create /home /srv --store /home=/dev/vdc --store /srv=/dev/vdd",
		"dmsnap extend nightly +8g",
	})
	p.section("SEE ALSO")
	p.seeAlso([]string{"dmsnap.8", "dmsnap-create.8", "dmsnap-extend.8", "dmsnap-monitor.8", "dmsnap.conf.5", "dmsnap-concepts.7"})
	return p.String()
}
