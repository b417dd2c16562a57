package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/dmsnap/dmsnap/ioctl"
)

// group is the volume group: origins on one disk, all stores on another.
const group = "bench"

// Sizes. xfs wants 300 MiB at least.
const (
	mib          = 2048 // sectors
	originMiB    = 320
	storeMiB     = 64
	originLength = originMiB * mib
	storeLength  = storeMiB * mib
)

// volume is a logical volume with a mounted filesystem, and another one for its exceptions. All methods cut the same.
type volume struct {
	device, name string // path and device-mapper name
	store        string
	dir          string
	own          ioctl.Spec // its table when nobody has cut it
	image        string     // what lvcreate makes of it
}

func makeVolumes(n int, originDisk, storeDisk string) ([]volume, error) {
	// LVM is spared dmeventd, which it would start and leave behind.
	if err := os.WriteFile("/etc/lvm/lvmlocal.conf", []byte("activation { monitoring = 0 }\n"), 0o644); err != nil {
		return nil, err
	}
	if err := shell("vgcreate -q %s %s %s", group, originDisk, storeDisk); err != nil {
		return nil, err
	}
	ctl, err := ioctl.Host().OpenControl()
	if err != nil {
		return nil, err
	}
	defer ctl.Close()
	var volumes []volume
	for i := range n {
		v := volume{
			device: fmt.Sprintf("/dev/%s/v%d", group, i), name: fmt.Sprintf("%s-v%d", group, i),
			store: fmt.Sprintf("/dev/%s/c%d", group, i), dir: fmt.Sprintf("/mnt/v%d", i), image: fmt.Sprintf("s%d", i),
		}
		err := shell("lvcreate -q -y -n v%d -L %dM %s %s; lvcreate -q -y -n c%d -L %dM %s %s",
			i, originMiB, group, originDisk, i, storeMiB, group, storeDisk)
		if err != nil {
			return nil, err
		}
		_, rows, err := ctl.Table(ioctl.ID{Name: v.name}, 0)
		if err != nil || len(rows) != 1 {
			return nil, fmt.Errorf("table of %s: %v: %w", v.name, rows, err)
		}
		v.own = rows[0]
		volumes = append(volumes, v)
	}
	return volumes, nil
}

func dropVolumes(disks ...string) error {
	err := shell("vgremove -q -f %s", group)
	return errors.Join(err, shell("pvremove -q %s", strings.Join(disks, " ")))
}

func (v volume) format(fs string) error {
	options := map[string]string{"ext4": "-q -F -E lazy_itable_init=0,lazy_journal_init=0", "xfs": "-q -f"}[fs]
	if err := os.MkdirAll(v.dir, 0o755); err != nil {
		return err
	}
	return shell("mkfs.%s %s %s; mount %s %s", fs, options, v.device, v.device, v.dir)
}

func (v volume) unmount() error {
	return shell("if mountpoint -q %s; then umount %s; fi", v.dir, v.dir)
}

// shell runs command lines up to the first that fails.
func shell(format string, args ...any) error {
	line := fmt.Sprintf(format, args...)
	out, err := exec.Command("sh", "-ec", line).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, out)
	}
	return nil
}

// shellEach runs command lines for each volume, with its names put in.
func shellEach(volumes []volume, lines string) error {
	for _, v := range volumes {
		own := fmt.Sprintf("0 %d %s %s", v.own.Length, v.own.Type, v.own.Params)
		names := strings.NewReplacer("NAME", v.name, "TABLE", own, "STORE", v.store,
			"COWLEN", fmt.Sprint(storeLength), "LENGTH", fmt.Sprint(originLength))
		if err := shell("%s", names.Replace(lines)); err != nil {
			return err
		}
	}
	return nil
}

// wipe zeroes what a store holds of an image's first chunks: another method would take it for a filesystem.
func (v volume) wipe() error {
	file, err := os.OpenFile(v.store, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.Write(make([]byte, 1<<20))
	return errors.Join(err, file.Sync(), file.Close())
}

func wipeAll(volumes []volume) error {
	for _, v := range volumes {
		if err := v.wipe(); err != nil {
			return err
		}
	}
	return nil
}
