package plan

import (
	"fmt"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/targets"
)

// Backing is what the device of a store is made of.
type Backing string

// The backings.
const (
	Whole   Backing = ""        // another device, from its beginning
	Extents Backing = "extents" // the blocks of a file on an origin, mapped beneath the origin's front
	Loop    Backing = "loop"    // a file on any other filesystem, through a loop device with direct I/O
	Memory  Backing = "memory"  // a file that exists in memory only, through a loop device
)

// Store is what is known of a store before anything is done.
type Store struct {
	Kind    string // as users name it: "device", "file", "ram"
	Path    string // of the device or file; empty for memory
	Why     string // why dmsnap chose it; empty if the user did
	Backing Backing
	// Dev is the device itself, or the one that the file's filesystem is on.
	Dev          targets.DevNo
	Size         targets.Sectors // all it may have, without lead and tail
	LogicalBlock uint32          // bytes
	// Beneath are the devices that what is written to it may reach; of Extents
	// those beneath the host's base.
	Beneath []targets.DevNo
	// Host is the origin that carries the file's filesystem, and Way leads from the
	// filesystem's device down to it. For Extents only.
	Host targets.DevNo
	Way  []Stretch
	// FillFor are the host's images of other sets, which still need what was in the
	// file's blocks before: their stores take it.
	FillFor []string
	// NoCOW: the filesystem writes in place only if it is told to.
	NoCOW bool
	// Demand is what the default size is made of.
	Demand Demand
	// Disks are those that writes to it wait for.
	Disks []Disk
}

// Disk is one of a store's.
type Disk struct {
	Name string
	// Timeout is when its driver gives a request up: nil if it does not say, 0 if
	// never.
	Timeout *time.Duration
}

// place is equal for two stores that would be one.
func (s Store) place() string {
	if s.Backing == Whole {
		return s.Dev.String()
	}
	return s.Path
}

// Stretch is a piece of a device that lies in one piece on the device beneath.
type Stretch struct {
	Start  targets.Sectors `json:"start"` // on the upper device
	Length targets.Sectors `json:"length"`
	Offset targets.Sectors `json:"offset"` // on the lower device
}

// Demand is what is known of the writes a store has to take.
type Demand struct {
	Used uint64 // bytes in use on the origin's filesystems; 0 if unknown
	Rate uint64 // bytes a store takes in a second, as far as the past tells
}

// File is a store's file, to be made, mapped or removed. Records keep it.
type File struct {
	Path    string  `json:"path"`
	Bytes   uint64  `json:"bytes"` // that the store's table has of it
	Backing Backing `json:"backing"`
	// At is where it begins in the store, in bytes: beyond 0 for files that a store
	// continues on. Those may have holes, where blocks lay that images need.
	At uint64 `json:"at,omitempty"`
	// Lead is how much of the file comes before that; 0 in stores of older releases,
	// which have no tail either.
	Lead uint64 `json:"lead,omitempty"`
	// Dev is the device that the file's filesystem is on.
	Dev targets.DevNo `json:"devno"`
	// Over is the dm name of the device that Way leads to. For Extents only.
	Over string    `json:"over,omitempty"`
	Way  []Stretch `json:"way,omitempty"`
	// Owner is the volume that it is for.
	Owner        string   `json:"-"`
	FillFor      []string `json:"-"`
	NoCOW        bool     `json:"-"` // the filesystem must be told to write in place
	LogicalBlock uint32   `json:"-"` // of the loop device
	// Label is what stands in lead and tail.
	Label layout.Label `json:"-"`
	// Room is what it may take of its filesystem while it is made, in bytes, and
	// Partly that less than Bytes will do. For further files.
	Room   uint64 `json:"-"`
	Partly bool   `json:"-"`
	// Pasts are the images that still need what lay in a block when they were cut.
	// For Extents only.
	Pasts []Past `json:"-"`
	// Hollow: its store keeps records only, and what lies between them may be holes.
	Hollow bool `json:"-"`
}

// Past is an image and how its filesystem is mounted beside its origin's.
type Past struct {
	Image   string // dm name
	FSType  string
	Options []string
}

// Size is how large the whole file is.
func (f *File) Size() uint64 {
	if f.Lead == 0 {
		return f.Bytes
	}
	return f.Lead + f.Bytes + layout.Tail
}

// Part is what a store's table has of one of its files, put together. On is what
// the file's rows lead to.
func (f *File) Part(store targets.Table, on targets.DevNo) targets.Table {
	at, size := targets.Sectors(f.At/512), targets.Sectors(f.Bytes/512)
	if f.At == 0 && !Hollow(store) { // further devices may lie between the rows of one that an older release made larger
		return To(On(store, on), size)
	}
	return On(To(From(store, at), size), on)
}

// Holds tells whether what a store has of a file, put together, is where the file lies.
func (f *File) Holds(part, lies targets.Table, on targets.DevNo) bool {
	if f.Hollow {
		return Within(part, on, lies)
	}
	return part.Equal(lies)
}

// file describes what a store is made of; nil if it is a device that exists.
func (v *Volume) file(id, set string, bases map[targets.DevNo]string) *File {
	s := v.StoreFacts
	if s.Backing == Whole {
		return nil
	}
	return &File{
		Path: s.Path, Bytes: v.StoreSize.Bytes(), Lead: layout.Lead, Label: v.Label(id, set), Backing: s.Backing, Dev: s.Dev,
		Owner: FileOwner(id, v.Index), Over: bases[s.Host], Way: s.Way, FillFor: s.FillFor, NoCOW: s.NoCOW, LogicalBlock: s.LogicalBlock,
	}
}

// allocate makes the file of a store, if it has one with a name.
func allocate(f *File) []Step {
	if f == nil || f.Path == "" {
		return nil
	}
	return []Step{{
		Phase: Prepare, Action: MakeFile, Role: RoleStore, File: f,
		Undo: &Step{Action: DropFile, Role: RoleStore, File: f},
	}}
}

// recheck looks once more, right before the window, whether the file is where
// the store's table says.
func recheck(v *Volume) []Step {
	f := v.File
	if f == nil || f.Backing != Extents {
		return nil
	}
	return []Step{{Phase: Prepare, Action: CheckFile, Role: RoleStore, Device: v.Store, File: f}}
}

// storeDevice makes the device of a store. What stands for a file in its table
// becomes extents or a loop device when the step runs.
func storeDevice(v *Volume, uuid string) []Step {
	f := v.File
	linear := targets.Linear{Dev: numbered(v.StoreFacts.Dev), Offset: LeadSectors}
	if f != nil {
		linear = targets.Linear{Dev: targets.Device{Path: f.standIn()}}
	}
	table := targets.Single(v.StoreSize, linear)
	steps := newDevice(RoleStore, v.Store, uuid, table, false)
	for i := range steps {
		if steps[i].Action == LoadTable {
			steps[i].File, steps[i].Why = f, v.StoreFacts.Why
			if f == nil {
				steps[i].Alone = v.StoreFacts.Dev
			}
		}
	}
	return steps
}

// standIn is what a plan's table shows for a file.
func (f *File) standIn() string {
	if f.Path == "" {
		return "memory"
	}
	return f.Path
}

func (f *File) detail(a Action) string {
	switch {
	case f == nil:
		return ""
	case a == MakeFile && len(f.FillFor) > 0:
		return fmt.Sprintf("%d bytes, written through once for the images of other sets", f.Size())
	case a == MakeFile && len(f.Pasts) > 0:
		return fmt.Sprintf("%d bytes, in blocks that were free when the snapshot was taken", f.Size())
	case a == MakeFile:
		return fmt.Sprintf("%d bytes", f.Size())
	case a == LoadTable && f.Backing == Extents:
		return "the extents of the file on " + f.Over
	case a == LoadTable && f.Backing == Memory:
		return fmt.Sprintf("a loop device over %d bytes of memory", f.Size())
	case a == LoadTable:
		return "a loop device with direct I/O"
	case a == CheckFile:
		return f.Path
	}
	return ""
}
