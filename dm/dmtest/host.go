// Package dmtest has hosts in memory for the tests of programs that use package dm: a
// kernel with volumes, filesystems and stores that needs neither root nor
// device-mapper. It is for tests only.
//
//	h := dmtest.LVM()
//	err := backup(ctx, h.Manager(), h.Request("nightly"))
//	if left := h.Changes(); len(left) > 0 {
//		t.Errorf("left behind: %q", left)
//	}
//
// The embedded ioctltest.Kernel does the rest: Fail makes any system call fail,
// Invalidate loses an image, AddProcess keeps a device busy, Reboot cuts the power.
package dmtest

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/dm"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// SizeBytes is the size of every volume and of every store of a Host.
const SizeBytes = 16 << 20

// StateDir is where managers of a Host keep their state.
const StateDir = "/var/lib/dmsnap"

// Volume is one origin of a Host, and an unused disk for its store.
type Volume struct {
	Name       string // device-mapper name, and the name of the volume in a set
	Mountpoint string
	FSType     string
	Device     ioctl.DevNo
	Store      string // path of the disk
}

// Host is a machine in memory. It is safe for concurrent use.
type Host struct {
	*ioctltest.Kernel
	Volumes []Volume
	before  []string
}

// LVM is a host with logical volumes: /home with ext4 and /srv with xfs.
func LVM() *Host {
	return New(
		Volume{Name: "vg-home", Mountpoint: "/home", FSType: "ext4"},
		Volume{Name: "vg-srv", Mountpoint: "/srv", FSType: "xfs"},
	)
}

// LUKS is a host with one encrypted volume, /home with ext4.
func LUKS() *Host { return New(Volume{Name: "luks-home", Mountpoint: "/home", FSType: "ext4"}) }

// Database is a host whose database has its data and its log on volumes of their
// own, which must be cut at one instant.
func Database() *Host {
	return New(
		Volume{Name: "vg-data", Mountpoint: "/var/lib/db", FSType: "xfs"},
		Volume{Name: "vg-log", Mountpoint: "/var/lib/db-log", FSType: "ext4"},
	)
}

// New is a host with these volumes; Device and Store are filled in. It has udev
// and a Linux 6.12. A name that begins with luks- makes the volume a dm-crypt
// mapping. An empty FSType leaves the volume unmounted.
func New(volumes ...Volume) *Host {
	k := ioctltest.New(ioctltest.Options{Release: "6.12.0", Udev: true})
	h := &Host{Kernel: k, Volumes: slices.Clone(volumes)}
	for i := range h.Volumes {
		h.add(uint32(32*i), &h.Volumes[i])
	}
	// The state directory, and the one of LVM's locks, are made now: they are no change of
	// the code under test.
	if err := k.Border().MkdirAll("/run/lock/lvm", 0o755); err != nil {
		panic(fmt.Sprintf("a new host has an empty /run: %v", err))
	}
	if _, err := h.Manager().Recover(context.Background()); err != nil {
		panic(fmt.Sprintf("a new host is healthy: %v", err))
	}
	h.before = h.state()
	return h
}

func (h *Host) add(minor uint32, v *Volume) {
	disk, store := ioctl.DevNo{Major: 252, Minor: minor}, ioctl.DevNo{Major: 252, Minor: minor + 16}
	h.AddDisk(diskName(disk), disk, SizeBytes)
	h.AddDisk(diskName(store), store, SizeBytes)
	v.Store = "/dev/" + diskName(store)
	row := ioctltest.Row{Length: SizeBytes / 512, Type: "linear", Params: disk.String() + " 0"}
	uuid := "LVM-" + v.Name
	if strings.HasPrefix(v.Name, "luks-") {
		row.Type, uuid = "crypt", "CRYPT-LUKS2-"+v.Name
		row.Params = fmt.Sprintf("aes-xts-plain64 %s 0 %s 0", strings.Repeat("5a", 32), disk)
	}
	v.Device = h.AddDM(v.Name, uuid, row)
	if v.FSType != "" {
		h.Mount(v.Device, v.Mountpoint, v.FSType)
	}
}

func diskName(d ioctl.DevNo) string { return fmt.Sprintf("vd%c", 'a'+d.Minor/16) }

// Options are those of a Manager on this host. There is no guard process, since
// nothing in memory outlives the test.
func (h *Host) Options() dm.Options {
	return dm.Options{Kernel: h.Border(), StateDir: StateDir, UdevTimeout: time.Second, BusyTimeout: time.Nanosecond, NoGuard: true}
}

// Manager is a new Manager on this host.
func (h *Host) Manager() *dm.Manager { return dm.New(h.Options()) }

// Request asks for a set of all volumes, each with its store.
func (h *Host) Request(name string) dm.CreateRequest {
	r := dm.CreateRequest{Name: name, Stores: map[string]string{}}
	for _, v := range h.Volumes {
		origin := v.Mountpoint
		if v.FSType == "" {
			origin = "/dev/mapper/" + v.Name
		}
		r.Origins = append(r.Origins, origin)
		r.Stores[origin] = v.Store
	}
	return r
}

// Changes lists what is not as it was when the host was made: devices, tables,
// mounts, freezes, suspends, open descriptors, semaphores and files, with a + for
// what is new and a - for what is gone. Contents of disks are not compared. Calls
// that would have slept for ever on a real kernel come with a !. A program that
// cleans up leaves an empty list.
func (h *Host) Changes() []string {
	var out []string
	now := h.state()
	for _, l := range h.before {
		if !slices.Contains(now, l) {
			out = append(out, "- "+l)
		}
	}
	for _, l := range now {
		if !slices.Contains(h.before, l) {
			out = append(out, "+ "+l)
		}
	}
	for _, l := range h.Hangs() {
		out = append(out, "! "+l)
	}
	return out
}

// state leaves out contents of disks, and the lock files, which stay for ever.
func (h *Host) state() []string {
	var out []string
	for _, l := range strings.Split(strings.TrimSpace(h.Snapshot()), "\n") {
		if strings.HasPrefix(l, "disk ") {
			l = diskContents.ReplaceAllString(l, "")
		}
		if !strings.Contains(l, "/dmsnap/lock/") {
			out = append(out, l)
		}
	}
	return out
}

var diskContents = regexp.MustCompile(` data=\S+`)
