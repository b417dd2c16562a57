package main

import (
	"errors"
	"fmt"
	"os"
)

// plainTour cuts a mounted partition that nobody prepared, and keeps what is overwritten in a file on it.
func plainTour(dmsnap string, disks []string) error {
	if err := os.Symlink(dmsnap, "/usr/local/bin/dmsnap"); err != nil {
		return err
	}
	plain := disks[0] + "1"
	say("One disk with one partition, mounted on %s. No device-mapper anywhere.", home)
	for _, c := range []string{
		fmt.Sprintf("addpart %s 1 2048 1048576; udevadm settle", disks[0]),
		"mkfs.ext4 -q " + plain, "mount " + plain + " " + home, "head -c 8M /dev/urandom > /home/data; sync -f /home",
		"sha256sum /home/data > /tmp/before", "dmsetup ls", "dmsnap doctor " + home + " || true",
	} {
		if err := shell(c); err != nil {
			return err
		}
	}
	say("The stock kernel cannot. With the module it can; a writer is running from now on.")
	l := startLoad(home)
	err := errors.Join(plainLife(), l.stop())
	if err != nil {
		return err
	}
	say("Nothing of dmsnap is left, the module unloads, and the filesystem is sound.")
	for _, c := range []string{"dmsetup ls", "rmmod dm_interpose", "umount " + home, "e2fsck -fn " + plain, "delpart " + disks[0] + " 1"} {
		if err := shell(c); err != nil {
			return err
		}
	}
	return nil
}

func plainLife() error {
	for _, c := range []string{
		"insmod " + os.Getenv("DMSNAP_MODULE"), "dmsnap create /home --name nightly --store file:/home/.cow --size 64m",
		"dmsetup table", "dmsetup status", "head -c 8M /dev/zero > /home/data; sync", "dmsnap show nightly", "dmsnap mount nightly /mnt/nightly",
	} {
		if err := shell(c); err != nil {
			return err
		}
	}
	say("The image still holds what the partition had at the cut; the partition does not.")
	for _, c := range []string{
		"cd /mnt/nightly; sed 's| /home/| |' /tmp/before | sha256sum -c", "! sha256sum --status -c /tmp/before",
		"dmsnap umount nightly", "dmsnap remove nightly",
	} {
		if err := shell(c); err != nil {
			return err
		}
	}
	return nil
}
