package main

import (
	"errors"
	"os"
	"os/exec"
)

// backup has Debian's restic read a frozen instant of both volumes at their own
// paths, twice, and restores it.
func backup() error {
	unpack := exec.Command("sh", "-ec", `for deb in $DMSNAP_DEBS; do dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C /; done`)
	unpack.Stderr = os.Stderr
	err := errors.Join(
		unpack.Run(),
		os.Setenv("RESTIC_REPOSITORY", "/tmp/restic"), os.Setenv("RESTIC_PASSWORD", "demo"), os.Setenv("RESTIC_CACHE_DIR", "/tmp/restic-cache"),
	)
	if err != nil {
		return err
	}
	say("Writers are running on both from now on. A backup in one line: restic sees both as they are at one instant, at their own paths.")
	line := "dmsnap exec " + home + " " + srv + " -- restic backup --one-file-system " + home + " " + srv
	if err := shells("restic init -q", line); err != nil {
		return err
	}
	say("Once more: paths, inode numbers and the device number are the same, so that restic reads only what was written meanwhile.")
	if err := shells(line, "restic restore -q latest --target /tmp/restored"); err != nil {
		return err
	}
	say("What was restored is what was there, and of the snapshot nothing is left.")
	return shells("cd /tmp/restored && sed 's| /| ./|' /tmp/before | sha256sum -c", "dmsnap list")
}
