package dm

// The words of the fields below are those of the JSON. A later version may have
// more of them.

// StoreKind is what a store is made of.
type StoreKind string

// The kinds of stores.
const (
	StoreDevice StoreKind = "device"
	StoreFile   StoreKind = "file"
	StoreRAM    StoreKind = "ram"
)

// Redirector is how writers of an origin are led through a snapshot-origin table.
type Redirector string

// The redirectors.
const (
	RedirectDM       Redirector = "dm"       // the origin is a device-mapper device: its table is swapped
	RedirectHandover Redirector = "handover" // raid and mirror: the table is handed over inside the window
	RedirectModule   Redirector = "module"   // a plain device, with the module dm-interpose
	RedirectAdopted  Redirector = "adopted"  // a plain device that was put beneath a device-mapper device
	RedirectNone     Redirector = "none"     // there is no way
)

// FreezeMethod is how a filesystem would be frozen.
type FreezeMethod string

// The ways to freeze.
const (
	FreezeIoctl   FreezeMethod = "fifreeze" // FIFREEZE, and the kernel's answer proves it
	FreezeSuspend FreezeMethod = "lockfs"   // by the suspend of its device: no proof
	FreezeNone    FreezeMethod = "none"
)

// Phase is a part of an operation.
type Phase string

// The phases, in their order; undo comes when something failed.
const (
	PhasePrepare Phase = "prepare"
	PhaseWindow  Phase = "window"
	PhaseFinish  Phase = "finish"
	PhaseAfter   Phase = "after" // the set is recorded; a failure does no harm
	PhaseUndo    Phase = "undo"
)

// HookEvent is what a hook is called for.
type HookEvent string

// The events of hooks.
const (
	HookPreFreeze HookEvent = "pre-freeze"
	HookPostThaw  HookEvent = "post-thaw"
	HookAbort     HookEvent = "abort"
)

// GuardKind is what would have ended a window.
type GuardKind string

// The kinds of guards.
const (
	GuardService GuardKind = "service" // a process outside of our control group
	GuardProcess GuardKind = "process" // a child
	GuardNone    GuardKind = "none"
)

// HolderKind is how a device is kept busy.
type HolderKind string

// The kinds of holders.
const (
	HolderMount   HolderKind = "mount"
	HolderProcess HolderKind = "process"
	HolderDevice  HolderKind = "device"
)

// Role is what a device of a Graph is for.
type Role string

// The roles.
const (
	RoleFront   Role = "front"
	RoleBase    Role = "base"
	RoleLower   Role = "lower" // beneath a base that has the table of a layer
	RoleStore   Role = "store"
	RoleImage   Role = "image"
	RoleCore    Role = "core"
	RoleAdopted Role = "adopted"
	RoleDevice  Role = "device" // not ours
)

// Subject is what an Explanation is about.
type Subject string

// The subjects.
const (
	SubjectSet    Subject = "set"
	SubjectOrigin Subject = "origin"
)

// Topic is what a Finding is about.
type Topic string

// The topics.
const (
	TopicState     Topic = "state"
	TopicStore     Topic = "store"
	TopicWrites    Topic = "writes"
	TopicHolder    Topic = "holder"
	TopicOperation Topic = "operation"
	TopicSuspended Topic = "suspended"
	TopicCut       Topic = "cut"
	TopicSets      Topic = "sets"
	TopicKernel    Topic = "kernel"
)
