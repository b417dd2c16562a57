package ioctltest

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// Row is one line of a table, in sectors of 512 bytes.
type Row struct {
	Start, Length uint64
	Type, Params  string
}

// DiskOption changes a disk of AddDisk.
type DiskOption func(*Kernel, *device)

// Sectors sets the logical and the physical block size in bytes.
func Sectors(logical, physical uint32) DiskOption {
	return func(_ *Kernel, d *device) { d.logical, d.physical = logical, physical }
}

// ReadOnly makes the disk read-only.
func ReadOnly() DiskOption { return func(_ *Kernel, d *device) { d.ro = true } }

// Attribute sets a file of the disk's directory in sysfs, such as "queue/dax",
// "removable" or "device/timeout".
func Attribute(name, value string) DiskOption {
	return func(_ *Kernel, d *device) {
		if d.attrs == nil {
			d.attrs = map[string]string{}
		}
		d.attrs[name] = value
	}
}

// Partition adds a partition; its number is added to the disk's minor. Start
// and size are bytes.
func Partition(number int, start, size uint64) DiskOption {
	return func(k *Kernel, d *device) {
		name := fmt.Sprintf("%s%d", d.name, number)
		if last := d.name[len(d.name)-1]; last >= '0' && last <= '9' {
			name = fmt.Sprintf("%sp%d", d.name, number)
		}
		no := ioctl.DevNo{Major: d.no.Major, Minor: d.no.Minor + uint32(number)}
		k.devices[no] = &device{
			no: no, name: name, sectors: size / sectorSize, logical: d.logical, physical: d.physical,
			whole: d, part: number, start: start / sectorSize,
		}
		k.addDevice(k.devices[no])
	}
}

// AddDisk adds a plain disk with node /dev/<name> and contents of zeros. Size
// is in bytes. Block sizes must come before partitions.
func (k *Kernel) AddDisk(name string, no ioctl.DevNo, size uint64, opts ...DiskOption) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.devices[no] != nil {
		panic("ioctltest: device number in use: " + no.String())
	}
	d := &device{no: no, name: name, sectors: size / sectorSize, logical: sectorSize, physical: sectorSize, data: newSparse()}
	k.devices[no] = d
	k.addDevice(d)
	for _, o := range opts {
		o(k, d)
	}
}

// AddDM makes a live device-mapper device, as LVM or cryptsetup would, with
// /dev/mapper/<name>: a link with udev, a node without.
func (k *Kernel) AddDM(name, uuid string, rows ...Row) ioctl.DevNo {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := &message{b: make([]byte, headerSize), name: name, uuid: uuid}
	must("create "+name, k.dmCreate(m))
	md := k.byName(name)
	k.loadRows(md, rows)
	must("resume "+name, k.resume(md, &message{b: m.b}, false))
	if !k.opts.Udev {
		n := k.newNode(unix.S_IFBLK | 0o600)
		n.rdev = unix.Mkdev(md.dev.no.Major, md.dev.no.Minor)
		k.place("/dev/mapper/"+name, n)
	}
	return md.dev.no
}

func must(what string, err error) {
	if err != nil {
		panic(fmt.Sprintf("ioctltest: %s: %v", what, err))
	}
}

// loadRows is a table load by somebody else.
func (k *Kernel) loadRows(md *mapped, rows []Row) {
	t := &table{md: md}
	for _, r := range rows {
		must(fmt.Sprintf("load %s: %q", md.name, r.Type+" "+r.Params), k.addTarget(t, r))
	}
	if !md.dev.present {
		must("load "+md.name, k.fits(t))
		k.addDevice(md.dev)
	}
	k.loaded(md)
	k.release(md.inactive)
	md.inactive = t
}

// named finds a device-mapper device by name.
func (k *Kernel) named(name string) *mapped {
	md := k.byName(name)
	if md == nil {
		panic("ioctltest: no device-mapper device " + name)
	}
	return md
}

// Reload swaps a table in behind the back of the code under test.
func (k *Kernel) Reload(name string, rows ...Row) {
	k.mu.Lock()
	defer k.mu.Unlock()
	md := k.named(name)
	k.loadRows(md, rows)
	must("resume "+name, k.resume(md, &message{b: make([]byte, headerSize)}, false))
}

// Load puts a table into the inactive slot, as another program does before it
// suspends and resumes the device.
func (k *Kernel) Load(name string, rows ...Row) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.loadRows(k.named(name), rows)
}

// Suspend suspends a device without a freeze, or resumes it, with the table that
// waits in its inactive slot if there is one.
func (k *Kernel) Suspend(name string, on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	md := k.named(name)
	if on {
		must("suspend "+name, k.suspend(md, false))
		return
	}
	must("resume "+name, k.resume(md, &message{b: make([]byte, headerSize)}, false))
}

// Hold opens a device until the function it returns is called.
func (k *Kernel) Hold(no ioctl.DevNo) (release func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := k.must(no)
	must("open "+d.name, k.openDevice(d, claimKinds))
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.closeDevice(d)
	}
}

func (k *Kernel) must(no ioctl.DevNo) *device {
	d := k.devices[no]
	if d == nil {
		panic("ioctltest: no device " + no.String())
	}
	return d
}

// Write writes to a device as a user of it would. It returns an errno.
func (k *Kernel) Write(no ioctl.DevNo, off uint64, b []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.write(k.must(no), off, b)
}

// Read reads a device as a user of it would.
func (k *Kernel) Read(no ioctl.DevNo, off uint64, b []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.read(k.must(no), off, b)
}

// SetSize changes the size of a plain disk, in bytes.
func (k *Kernel) SetSize(no ioctl.DevNo, size uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.must(no).sectors = size / sectorSize
}

// Exit closes every descriptor of the process under test, as its death would.
func (k *Kernel) Exit() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closeAll()
}

func (k *Kernel) closeAll() {
	for fd := range k.fds {
		must("close", k.close(fd))
	}
}
