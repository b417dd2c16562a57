package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/targets"
)

// Phase is when a step runs.
type Phase string

// Phases, in their order. Everything that can fail for a reason of its own is
// in Prepare; Window holds writers; Finish is after they run again.
const (
	Prepare Phase = "prepare"
	Window  Phase = "window"
	Finish  Phase = "finish"
	After   Phase = "after" // when the outcome is on disk; a failure changes nothing and is logged
	Undo    Phase = "undo"  // of what was prepared, when something failed; no plan has such steps
)

// Action is what a step does.
type Action string

// Actions of steps and of their undo.
const (
	CreateDevice  Action = "create"   // an empty device Device with UUID
	LoadTable     Action = "load"     // Table into Device's inactive slot
	ClearTable    Action = "clear"    // drop what is in Device's inactive slot, or what is left of it in the kernel
	Suspend       Action = "suspend"  // Device
	Resume        Action = "resume"   // Device; swaps a loaded table in
	RemoveDevice  Action = "remove"   // Device
	WipeHeader    Action = "wipe"     // zero Bytes of Device, from At on
	SyncFS        Action = "sync"     // write the filesystem's dirty data back
	Freeze        Action = "freeze"   // the filesystem
	Prove         Action = "prove"    // that the kernel holds it frozen
	Thaw          Action = "thaw"     // the filesystem
	Restore       Action = "restore"  // give Device its Table back, whatever slot ours is in
	Claim         Action = "claim"    // image Device, so that it cannot be mounted until it is removed
	Verify        Action = "verify"   // Device carries Table, and is healthy
	Expect        Action = "expect"   // that front Device still runs on Live, with Table and nothing else to come
	Hook          Action = "hook"     // call Program with Event
	Settle        Action = "settle"   // wait until device nodes agree with the devices
	MakeFile      Action = "allocate" // File, all of it, so that its blocks stay where they are
	CheckFile     Action = "check"    // that File lies where Device's table says
	DropFile      Action = "delete"   // File
	FreeBlocks    Action = "free"     // parts of File that the store in Device, with Table, has no more
	LabelMedium   Action = "label"    // lead and tail of Medium
	PutBack       Action = "put back" // what LabelMedium found there
	WipeLabel     Action = "unlabel"  // Medium, if the label is the set's
	Attach        Action = "attach"   // send what is addressed to the device beneath Device to Front
	Detach        Action = "detach"   // end that
	Probe         Action = "probe"    // that what is addressed to the device beneath Device still goes to Front
	Chain         Action = "chain"    // have image Device read through the one that Table names
	Rename        Action = "rename"   // Device to To
	FlattenChunks Action = "fold"     // copy into snapshot Device what only the one beneath it has; JSON keeps the word of the first version
	LockGroup     Action = "lock"     // LVM's volume Group, so that lvm2 changes no volume of it
	UnlockGroup   Action = "unlock"   // Group
)

// Step is one step of a plan. Which fields count depends on the action.
type Step struct {
	Phase  Phase
	Action Action
	Role   Role
	// Device is a device-mapper name. In Table, paths below /dev/mapper name
	// devices the same way: run replaces them by numbers.
	Device string
	UUID   string
	// Minor is the number that a new device gets if it is free; zero for any.
	Minor uint32
	Front string // dm name
	To    string // dm name
	Table targets.Table
	// Live is the table that a front must run on for Table to be loaded, or expected, in
	// its inactive slot: on another one it is not ours to change.
	Live targets.Table
	// Held: it may be suspended already, by the operation that is being ended.
	Held bool
	// Alone is a device of Table on which no other device may stand; none if zero.
	Alone targets.DevNo
	// ReadOnly loads the table so that the device cannot be written.
	ReadOnly bool
	// LockFS lets the suspend freeze the filesystem: only for those that cannot
	// be frozen through their mount point, and never together with Freeze.
	LockFS    bool
	At, Bytes uint64
	// Discard tells the device first, where it wants to know, that nothing on it is
	// needed.
	Discard    bool
	Filesystem *Filesystem
	// Group is the name of an LVM volume group.
	Group string
	// Medium is a device that a store is made of.
	Medium *Medium
	// File is what a store is made of. In a load it takes the place of Table's row.
	File *File
	// Free are parts of File, where they begin in it.
	Free []Stretch
	// Why says for what reason dmsnap chose it.
	Why string
	// Program is a hook of the application's, Event what it is called with.
	Program, Event string
	// Gone names devices that must have no node after Settle.
	Gone []string
	// Peer is the other device of a handover: the front of a base that is engaged
	// or disengaged, the base of a front that is restored. In a flattening, the layer's
	// store. The base that a front's waiting table leads to, when that is cleared.
	Peer string
	// Optional: a failure is worth a warning and nothing more.
	Optional bool
	// Together: may run at the same time as the step before it. Only in the window,
	// and only among steps of one kind.
	Together bool
	// Late steps touch the origin, or read what it may still change: all else of the
	// prepare phase comes before.
	Late bool
	// Undo takes the step back; nil if the undo of an earlier step does.
	Undo *Step
}

// Filesystem is one superblock to hold during the window.
type Filesystem struct {
	Type        string
	Mountpoints []string // as their namespaces see them
	Method      Method
	Reason      string // why the method is not FIFREEZE
	Front       string // dm name of the front beneath
	Key         int    // index into Facts.Filesystems, for run
	// Waits: frozen after all before it and thawed before them, since it holds the
	// files of their loop devices.
	Waits bool
}

// Method is how a filesystem is frozen.
type Method string

// The methods.
const (
	ByFIFREEZE Method = "fifreeze"
	ByLockFS   Method = "lockfs" // by the suspend of the device beneath
	ByNothing  Method = "none"
)

// String is the step in one line, without its table.
func (s Step) String() string {
	var b strings.Builder
	b.WriteString(string(s.Action))
	switch {
	case s.Filesystem != nil:
		fmt.Fprintf(&b, " %s (%s)", strings.Join(s.Filesystem.Mountpoints, ", "), s.Filesystem.Type)
	case s.Program != "":
		fmt.Fprintf(&b, " %s %s", s.Program, s.Event)
	case s.Front != "", s.To != "":
		fmt.Fprintf(&b, " %s to %s", s.Device, s.Front+s.To)
	case s.File != nil && s.Action == DropFile:
		fmt.Fprintf(&b, " %s", s.File.Path)
	case s.Device != "":
		fmt.Fprintf(&b, " %s", s.Device)
	case s.Medium != nil:
		fmt.Fprintf(&b, " %s", s.Medium.Path)
	case s.File != nil:
		fmt.Fprintf(&b, " %s", s.File.Path)
	case s.Group != "":
		fmt.Fprintf(&b, " volume group %s", s.Group)
	}
	return b.String()
}

// Detail says what the action alone does not.
func (s Step) Detail() string {
	var d []string
	if s.UUID != "" {
		d = append(d, "uuid "+s.UUID)
	}
	if s.Minor != 0 {
		d = append(d, fmt.Sprintf("minor %d if it is free", s.Minor))
	}
	if s.ReadOnly {
		d = append(d, "read-only")
	}
	if s.LockFS {
		d = append(d, "freezes the filesystem")
	}
	if s.Together {
		d = append(d, "at the same time")
	}
	switch {
	case s.At != 0:
		d = append(d, fmt.Sprintf("%d bytes at %d", s.Bytes, s.At))
	case s.Action == FlattenChunks:
		d = append(d, fmt.Sprintf("%d bytes that only %s has", s.Bytes, s.Peer))
	case s.Bytes != 0:
		d = append(d, fmt.Sprintf("first %d bytes", s.Bytes))
	}
	if s.Discard {
		d = append(d, "the rest discarded if the device can")
	}
	switch {
	case s.Action == Expect && len(s.Table) == 0:
		d = append(d, "with its old table")
	case s.Action == Expect:
		d = append(d, "with its old table live and this one loaded")
	}
	if n := stretched(s.Free); n > 0 {
		d = append(d, fmt.Sprintf("%d bytes of %s", n.Bytes(), s.File.Path))
	}
	if s.Action == DropFile && s.Device != "" {
		d = append(d, "unless "+s.Device+" has it")
	}
	if text := s.File.detail(s.Action); text != "" {
		d = append(d, text)
	}
	if text := s.Medium.detail(s.Action); text != "" {
		d = append(d, text)
	}
	if s.Why != "" {
		d = append(d, "chosen because "+s.Why)
	}
	return strings.Join(d, ", ")
}

func stretched(all []Stretch) (sum targets.Sectors) {
	for _, s := range all {
		sum += s.Length
	}
	return sum
}

// Plan is the ordered list of steps of one operation.
type Plan struct {
	Op  string
	Set string
	ID  string
	// Final means that the finish steps are past the point of no return: they are
	// all tried, and none is taken back.
	Final   bool
	Steps   []Step
	Volumes []Volume
}

// Volume is what a plan makes of one origin.
type Volume struct {
	Index              int
	Name               string
	Front, Base, Store string // dm names
	Image              string
	Core               string // the snapshot beneath the image; empty if the image is the snapshot
	Origin             Origin
	StoreFacts         Store
	File               *File // what the store is made of, if it is no device
	StoreSize          targets.Sectors
	Chunk              targets.Sectors
	NewBase            bool
	Layer              targets.Table // of a new base, if it is to have one
	redirector         Redirector    // of a new base
	ImageTable         targets.Table
	Mode               targets.Mode
	ModeWhy            string // if the request left it open
	Writable           bool
	Minor              uint32 // that the image is to have if it is free; zero for any
}

// In returns the steps of one phase, in order.
func (p *Plan) In(phase Phase) []Step {
	var out []Step
	for _, s := range p.Steps {
		if s.Phase == phase {
			out = append(out, s)
		}
	}
	return out
}

// Split parts the prepare phase before the first step that touches an origin, a
// filesystem or an application: after what comes before, the cut can wait for as
// long as one likes.
func (p *Plan) Split() (early, late []Step) {
	steps := p.In(Prepare)
	i := slices.IndexFunc(steps, func(s Step) bool {
		return s.Late || s.Filesystem != nil || s.Action == Hook || s.Action == CheckFile
	})
	if i < 0 {
		return steps, nil
	}
	return steps[:i], steps[i:]
}
