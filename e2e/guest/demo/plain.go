package main

import (
	"errors"
	"os"

	"github.com/dmsnap/dmsnap/e2e/internal/newroot"
)

// plainTour cuts the root of a machine with one disk and one partition, which nobody prepared.
func plainTour(dmsnap string, disks []string) error {
	const dir = "/run/disk"
	disk, plain := disks[0], disks[0]+"1"
	say("One disk with one partition.")
	err := shells(
		"addpart "+disk+" 1 2048 1048576; udevadm settle", "mkfs.ext4 -q "+plain,
		"mkdir "+dir+" && mount "+plain+" "+dir,
	)
	if err != nil {
		return err
	}
	leave, err := newroot.Enter(dir, map[string]string{"dmsnap": dmsnap, "dm-interpose.ko": os.Getenv("DMSNAP_MODULE")})
	if err != nil {
		return err
	}
	// So that the commands read as users type them.
	if err := errors.Join(os.Setenv("PATH", "/:"+os.Getenv("PATH")), plainRoot(), leave()); err != nil {
		return err
	}
	say("The filesystem is sound.")
	return shells("umount "+dir, "e2fsck -fn "+plain, "delpart "+disk+" 1")
}

func plainRoot() error {
	say("The machine's root is on it: configuration, state, dmsnap. No device-mapper anywhere.")
	err := shells(
		"findmnt /", "head -c 8M /dev/urandom > /home/data; sync -f /", "sha256sum /home/data > /run/before",
		"dmsetup ls", "dmsnap doctor / || true",
	)
	if err != nil {
		return err
	}
	say("The stock kernel cannot. With the module it can; a writer is running from now on.")
	l := startLoad(home)
	if err := errors.Join(plainLife(), l.stop()); err != nil {
		return err
	}
	say("Nothing of dmsnap is left, and the module unloads.")
	return shells("dmsetup ls", "rmmod dm_interpose")
}

// plainLife is the set's, from cut to removal.
func plainLife() error {
	err := shells(
		"insmod /dm-interpose.ko", "dmsnap create / --name nightly", "dmsetup table", "dmsetup status",
		"head -c 8M /dev/zero > /home/data; sync", "dmsnap show nightly", "dmsnap mount nightly /mnt",
	)
	if err != nil {
		return err
	}
	say("The image still holds what the root had at the cut; the root does not.")
	return shells(
		"cd /mnt; sed 's| /| |' /run/before | sha256sum -c", "! sha256sum --status -c /run/before",
		"dmsnap umount nightly", "dmsnap remove nightly",
	)
}
