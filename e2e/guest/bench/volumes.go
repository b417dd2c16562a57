package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// group is the volume group: origins on one disk, all stores on another.
const group = "bench"

// Sizes in MiB. xfs wants 300 at least.
const (
	originMiB = 320
	storeMiB  = 64
)

// volume is a logical volume with a mounted filesystem, and another one for its exceptions. All methods cut the same.
type volume struct {
	device, name string // path and device-mapper name
	store        string
	dir          string
	table        string // its own, when nobody has cut it
	length       string // in sectors
	image        string // what we and lvcreate call the snapshot
}

func makeVolumes(n int, originDisk, storeDisk string) ([]volume, error) {
	if err := shell("vgcreate -q %s %s %s", group, originDisk, storeDisk); err != nil {
		return nil, err
	}
	var volumes []volume
	for i := range n {
		v := volume{
			device: fmt.Sprintf("/dev/%s/v%d", group, i), name: fmt.Sprintf("%s-v%d", group, i),
			store: fmt.Sprintf("/dev/%s/c%d", group, i), dir: fmt.Sprintf("/mnt/v%d", i), image: fmt.Sprintf("s%d", i),
		}
		err := shell("lvcreate -q -y -n v%d -L %dM %s %s; lvcreate -q -y -n c%d -L %dM %s %s; dmsetup table %s > /tmp/table",
			i, originMiB, group, originDisk, i, storeMiB, group, storeDisk, v.name)
		if err != nil {
			return nil, err
		}
		table, err := os.ReadFile("/tmp/table")
		if err != nil {
			return nil, err
		}
		v.table = strings.TrimSpace(string(table))
		v.length = strings.Fields(v.table)[1]
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

func (v volume) unmount() error { return shell("if mountpoint -q %s; then umount %s; fi", v.dir, v.dir) }

// shell runs command lines up to the first that fails.
func shell(format string, args ...any) error {
	line := fmt.Sprintf(format, args...)
	out, err := exec.Command("sh", "-ec", line).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, out)
	}
	return nil
}

// each makes one script of a line for every volume.
func each(volumes []volume, line func(v volume) string) string {
	var b strings.Builder
	for _, v := range volumes {
		b.WriteString(line(v) + "\n")
	}
	return b.String()
}
