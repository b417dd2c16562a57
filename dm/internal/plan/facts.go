package plan

import (
	"fmt"

	"github.com/dmsnap/dmsnap/targets"
)

// CheckRelease refuses a kernel older than any that dmsnap was verified on. A
// release that does not tell its version is believed.
func CheckRelease(release string) error {
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n == 2 && (major < 6 || major == 6 && minor < 1) {
		return Refuse(Unsupported, "", "boot a newer kernel", "Linux %s is too old: 6.1 or newer is needed", release)
	}
	return nil
}

// Origin is what is known of one origin before anything is done.
type Origin struct {
	Spec   string // as the user named it
	Path   string // node of the front
	Volume string
	Dev    targets.DevNo
	// Name and UUID are the device-mapper identity: of a plain device its front's,
	// empty while it has none.
	Name, UUID string
	// Plain is set for what is no device-mapper device.
	Plain *Plain
	// Role is set when the device is one of our own layers.
	Role Role
	// Table is the live table, with its secrets.
	Table        targets.Table
	Size         targets.Sectors
	LogicalBlock uint32 // bytes
	// Status is the status line of a table that is handed over.
	Status string
	// Beneath are the devices it stands on, Depth how many layers they are.
	Beneath        []targets.DevNo
	Depth          int
	ReadOnly       bool
	Suspended      bool
	InactiveLoaded bool // another program is in the middle of a reload
	Base           *Base
	StoreOf        string // the image whose store this device serves
	Filesystems    []Filesystem
}

// Plain is what is known of a plain device beyond other origins.
type Plain struct {
	// Interposer tells that the kernel has the interpose target.
	Interposer bool
	// Holders are the devices that stand on it.
	Holders []string
	// Partitioned tells that it is a disk with partitions in use by the kernel.
	Partitioned bool
}

// Base is an origin's layer as it stands.
type Base struct {
	Name, UUID string
	Dev        targets.DevNo
	Table      targets.Table // the origin's own table, with its secrets
	ReadOnly   bool
	Images     []string // dm names of all images that pair with it
	Older      []Older  // those of them that are live
	// Fronted is false when the front does not lead here any more: a program
	// reloaded it behind our back.
	Fronted bool
	// Pending is true when the front's inactive table leads here: an operation
	// was interrupted before its window.
	Pending bool
	// Own is true when the front runs on the origin's own table and nothing waits: one
	// that did may have been cleared, so that the front could run.
	Own bool
	// Redirect is how a plain device's writers are led to the front.
	Redirect targets.InterposeStatus
	// Lower is what the redirect is of where the base has the table of a layer; nil
	// where it is of the base.
	Lower *Lower
}

// Lower is the device between a base that has the table of a layer and the plain device.
type Lower struct {
	Name string
	Dev  targets.DevNo
}

// redirected names the device that the redirect is of.
func (b Base) redirected() (Role, string) {
	if b.Lower != nil {
		return RoleLower, b.Lower.Name
	}
	return RoleBase, b.Name
}

// Known tells that the device itself is known, and not only a base of it.
func (o Origin) Known() bool { return o.Name != "" || o.Plain != nil }
