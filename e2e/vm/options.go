package vm

import (
	"fmt"
	"os"
	"path/filepath"
)

// Options say what machine to start. The zero value of each field means the default.
type Options struct {
	Kernel   Kernel
	Disks    []Disk
	MemoryMB int    // 2048
	CPUs     int    // 2
	Udev     bool   // run systemd-udevd in the guest
	Root     string // raw image, like Userland's, that the guest has as its root; empty: the host's files
	Forward  int    // TCP port of the guest behind Machine.Address; zero: the guest has no network
	programs string // the host's directory with programs for a foreign processor
}

// Disk is a virtio disk of the guest: the first is /dev/vda, and so on.
type Disk struct {
	Path       string // raw file of the host; when empty a fresh one that goes with the machine
	Size       int64  // bytes, sparse; zero keeps the size of an existing file
	SectorSize int    // logical and physical, 512 when zero
	Serial     string // diskN when empty
	Cache      string // writeback (honours flushes) when empty, or unsafe, none, writethrough
	ReadOnly   bool
}

func (o Options) withDefaults() Options {
	if o.Kernel.Name == "" {
		o.Kernel = Kernels[0]
	}
	if o.MemoryMB == 0 {
		o.MemoryMB = 2048
	}
	if o.CPUs == 0 {
		o.CPUs = 2
	}
	return o
}

// withDefaults also makes the file, sparse, in dir unless the disk has a path.
func (d Disk) withDefaults(index int, dir string) (Disk, error) {
	if d.Serial == "" {
		d.Serial = fmt.Sprintf("disk%d", index)
	}
	if d.SectorSize == 0 {
		d.SectorSize = 512
	}
	if d.Cache == "" {
		d.Cache = "writeback"
	}
	if d.Path == "" {
		d.Path = filepath.Join(dir, d.Serial+".img")
	}
	if d.Size == 0 {
		return d, nil
	}
	file, err := os.OpenFile(d.Path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return d, fmt.Errorf("disk %s: %w", d.Serial, err)
	}
	defer file.Close()
	return d, file.Truncate(d.Size)
}

// args are QEMU's arguments for the disk.
func (d Disk) args(index int) []string {
	id := fmt.Sprintf("d%d", index)
	drive := fmt.Sprintf("if=none,id=%s,file=%s,format=raw,cache=%s,discard=unmap", id, d.Path, d.Cache)
	if d.ReadOnly {
		drive += ",readonly=on"
	}
	device := fmt.Sprintf("virtio-blk-pci,drive=%s,serial=%s,logical_block_size=%d,physical_block_size=%d",
		id, d.Serial, d.SectorSize, d.SectorSize)
	return []string{"-drive", drive, "-device", device}
}
