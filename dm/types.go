package dm

import (
	"time"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// State is the condition of a volume or a set. A set has the worst state of its
// volumes.
type State string

// The states, best first.
const (
	StateActive   State = "active"
	StateMerging  State = "merging"  // reserved: nothing is merged into its origin yet
	StateMerged   State = "merged"   // reserved, too
	StateOverflow State = "overflow" // store full; what was read before is still right
	StateInvalid  State = "invalid"  // the kernel dropped the snapshot
	StateBypassed State = "bypassed" // the front no longer carries our layer
	StateBroken   State = "broken"   // a part of the stack is missing
)

// Consistency is how much of a cut's instant was secured.
type Consistency string

// Consistency levels, best first. All but Unmounted can be asked for; that is
// reported when there was nothing mounted to freeze.
const (
	Application Consistency = "application" // as Filesystem, and every hook did its part
	Filesystem  Consistency = "filesystem"  // every mounted filesystem was proven frozen
	Crash       Consistency = "crash"       // as after a power cut
	Unmounted   Consistency = "unmounted"   // no filesystem was mounted on any volume
)

// Set is one or more volumes cut at one instant and removed together.
type Set struct {
	Name       string            `json:"name"`
	UUID       string            `json:"uuid"`
	Created    *time.Time        `json:"created"` // null when only the kernel's tables know the set
	State      State             `json:"state"`   // null without volumes: its devices are gone, and its record is about to go
	Persistent bool              `json:"persistent"`
	Labels     map[string]string `json:"labels"`
	Lease      *LeaseState       `json:"lease"`   // null if it is for ever
	Receipt    *Receipt          `json:"receipt"` // null when the record is lost
	Monitored  bool              `json:"watched"` // a monitor runs that makes its stores grow
	Layer      bool              `json:"layer"`   // it was removed, but sets read through it
	// Bookmark: only the list of changed chunks is kept. It has no images.
	Bookmark bool     `json:"bookmark"`
	Volumes  []Volume `json:"volumes"`
}

// DevNo is the number of a device; its String is "254:3". The zero value is no device.
type DevNo = targets.DevNo

// Volume is one origin inside a set.
type Volume struct {
	Name        string `json:"name"`
	Origin      string `json:"origin"`
	OriginDevno DevNo  `json:"origin_devno"`
	// OriginLayer is the table that all I/O of the origin passes, where it was attached with one.
	OriginLayer string   `json:"origin_layer,omitempty"`
	Mountpoints []string `json:"mountpoints"` // of the origin at the cut
	FSType      string   `json:"fstype"`      // "" when unknown
	Device      string   `json:"device"`      // the image
	Devno       DevNo    `json:"devno"`
	SizeBytes   uint64   `json:"size_bytes"`
	ChunkBytes  uint64   `json:"chunk_bytes"`
	Writable    bool     `json:"writable"`
	State       State    `json:"state"`
	Reason      string   `json:"reason,omitempty"` // why the state is not active
	ImageMounts []string `json:"image_mounts"`     // where the image is mounted now
	// ReadsThrough is the set whose image this one reads through, "" if it reads the
	// origin; Layers is how many images that is down to the origin. If one of them is
	// lost, so is this.
	ReadsThrough string `json:"reads_through"`
	Depth        int    `json:"layers"`
	// ReadBy are the sets that read through this one, directly or through others.
	// Removed before them, it lives on as a layer.
	ReadBy []string `json:"read_by"`
	// Beside are the sets of the same origin for which the kernel copies each chunk too.
	Beside []Beside `json:"beside"`
	Store  Store    `json:"store"`

	persistent bool
	bookmark   bool     // its store keeps records only
	asked      string   // the origin, as in CreateRequest.Origins
	number     int      // in its set
	gone       bool     // the origin, from this machine
	snapshot   ioctl.ID // the device that is the snapshot
}

// Store is where a volume keeps old chunks.
type Store struct {
	Kind StoreKind `json:"kind"`
	// Path of the device or file. A file on the origin's filesystem is in the image
	// too, where its contents mean nothing: leave it out of backups.
	Path      string `json:"path"`
	SizeBytes uint64 `json:"size_bytes"`
	// UsedBytes and MetadataBytes are null when the kernel does not say. Of a
	// persistent store Show reads them from its medium then, which lacks chunks
	// that were being copied when the image was lost.
	UsedBytes     *uint64 `json:"used_bytes"`
	MetadataBytes *uint64 `json:"metadata_bytes"`
	// FillRate is how fast it filled since the cut, and FullIn when it is full if
	// it continues at that rate; null when not known.
	FillRate    *Rate          `json:"fill_bytes_per_second"`
	FullIn      *time.Duration `json:"full_in_seconds" unit:"s"` // null also when it does not fill
	NeededBytes uint64         `json:"needed_bytes"`             // what it can ever need; with as much it cannot overflow
	// Files are its further files, in order.
	Files []string `json:"files,omitempty"`
	// Spill are its further devices, in order.
	Spill []string `json:"spill"`
	// Pinned is true if the kernel refuses to unmount the filesystem of a store's file
	// and to make a new one in its place; nil for other stores, and if not known.
	Pinned *bool `json:"held"`
	// Why dmsnap chose it; "" if the user did, or if the record is lost.
	Why string `json:"why"`
}

// Receipt is what the window of a cut really did.
type Receipt struct {
	Consistency Consistency     `json:"consistency"`
	Asked       Consistency     `json:"asked"`
	Start       time.Time       `json:"start"`
	End         time.Time       `json:"end"`
	Window      time.Duration   `json:"window_us" unit:"us"` // first freeze or suspend to last thaw
	Skew        time.Duration   `json:"skew_us" unit:"us"`   // first to last front suspended: the instant lies after the last
	Frozen      []string        `json:"frozen"`              // mount points proven frozen
	Unproven    []string        `json:"unproven"`            // mounted or in use, but not proven frozen
	Allowed     []string        `json:"allowed"`             // those of Unproven that the request allows
	Outside     []string        `json:"outside"`             // mounted below the filesystems of the set, and not in it
	Blocked     time.Duration   `json:"hold_us" unit:"us"`   // the longest that writers of one volume waited
	Volumes     []VolumeReceipt `json:"volumes"`
	Hooks       []HookReceipt   `json:"hooks"`
	Steps       []StepReceipt   `json:"steps"`
	// Stores are those that dmsnap chose, and why.
	Stores []StoreReceipt `json:"stores"`
	// Copied are store files whose making used room in the stores of other sets.
	Copied []CopiedReceipt `json:"copied,omitempty"`
	// Guard would have ended the window. Empty in receipts of older versions.
	Guard GuardKind `json:"guard,omitempty"`
	// Media are the disks that writes to the stores wait for.
	Media []Medium `json:"media,omitempty"`
	// Doubts say why a device is among the unproven though no mount of it was seen.
	Doubts []Doubt `json:"doubts,omitempty"`
}

// Medium is a disk that a store lies on. If it hangs, the first write to each chunk
// of the origin waits for as long as its driver does.
type Medium struct {
	Volume string `json:"volume"`
	Disk   string `json:"disk"`
	// IOTimeout is when its driver gives a request up; 0: never. Nil: it does not say.
	IOTimeout *time.Duration `json:"io_timeout" unit:"s"`
}

// Doubt is a device of which it could not be seen who uses it.
type Doubt struct {
	Device string `json:"device"`
	Reason string `json:"reason"`
}

// StoreReceipt is the choice of one store.
type StoreReceipt struct {
	Volume string    `json:"volume"`
	Kind   StoreKind `json:"kind"`
	Path   string    `json:"path"`
	Why    string    `json:"why"`
}

// CopiedReceipt is a store's file on an origin that other sets have images of: what
// lay in its blocks was copied to their stores first.
type CopiedReceipt struct {
	Volume string   `json:"volume"`
	Path   string   `json:"path"`
	Images []string `json:"images"` // names of their devices
	Bytes  uint64   `json:"bytes"`  // that each of their stores has less, at most
}

// VolumeReceipt is when the writers of one volume had to wait, since the start of
// the window.
type VolumeReceipt struct {
	Name string `json:"name"`
	// Consistency is that of this volume; empty in receipts of older versions.
	Consistency Consistency `json:"consistency"`

	Frozen    *time.Duration `json:"frozen_us" unit:"us"` // its first freeze had returned; nil if nothing was frozen
	Suspended time.Duration  `json:"suspended_us" unit:"us"`
	Resumed   time.Duration  `json:"resumed_us" unit:"us"`
	Thawed    *time.Duration `json:"thawed_us" unit:"us"` // its last thaw had returned
	Blocked   time.Duration  `json:"hold_us" unit:"us"`   // from the first freeze or suspend to the last resume or thaw
}

// HookReceipt is one call of a hook.
type HookReceipt struct {
	Hook  string        `json:"hook"`
	Event HookEvent     `json:"event"`
	Took  time.Duration `json:"us" unit:"us"`
	Error string        `json:"error"` // "" if it did its part
}

// StepReceipt is when one call of the window was made and the time it took. Calls
// of one kind may have been made at the same time.
type StepReceipt struct {
	Step string        `json:"step"`
	At   time.Duration `json:"at_us" unit:"us"` // since the start of the window
	Took time.Duration `json:"us" unit:"us"`
}

// DefaultHookDir has the hooks of every cut that the command line makes.
const DefaultHookDir = "/etc/dmsnap/hooks.d"

// CreateRequest asks for a set. The zero value of every field but Origins is
// a usable default.
type CreateRequest struct {
	// Name of the set; letters, digits and #+-.:=@_, at most 64. Empty: made
	// from the time.
	Name string
	// Origins: block device paths, mount points, UUID=, LABEL=, PARTUUID= or
	// PARTLABEL=. Each becomes a volume.
	Origins []string
	// Select has more origins, by what they have in common.
	Select Selection
	// AllowUnproven are origins, or other devices or mount points of the set, whose
	// filesystem need not be proven frozen, such as a vfat, which cannot be. It is
	// frozen as well as the kernel can, and the set is not the less what was asked for.
	AllowUnproven []string
	// Stores maps an entry of Origins, or "" for all others, to a store spec: an
	// unused block device, file:PATH, ram, ram:LIMIT, or auto (also if empty).
	Stores map[string]string
	// StoreSize limits each store. Zero: of a device as much as can ever be needed,
	// at most the whole of it; of a file or memory by what is in use and how much is
	// written.
	StoreSize Size
	// ForceStore takes devices as stores that carry a signature.
	ForceStore bool
	// ChunkBytes is the unit of copying; a power of two. Zero: by the policy.
	ChunkBytes uint64
	// Policy says what to choose where this request leaves it open.
	Policy Policy
	// Persistent keeps the exceptions on the store's medium too. A set is not
	// activated again after a reboot in this version, persistent or not. It can
	// take over for older persistent sets, so that writers of an origin pay for the
	// newest one only. Without it that is chosen for a set of such an origin, unless
	// it is Writable, has a Lease or a store in memory, or is asked to be Transient.
	Persistent, Transient bool
	// Writable images take writes; what is written goes to the store.
	Writable bool
	// StableNumbers gives each image the device number that images of its origin always
	// get with it, unless that is taken. Programs that compare st_dev need it.
	StableNumbers bool
	Labels        map[string]string
	// Lease ends the set's life by itself. Zero: never.
	Lease Lease
	// FreezeTimeout bounds the window. Zero: 10 s.
	FreezeTimeout time.Duration
	// Consistency: Application fails if a hook does; Filesystem and Crash go on
	// without it and say so in the receipt. Empty: Application if there are hooks,
	// else Filesystem.
	Consistency Consistency
	// HookDirs have programs that quiesce applications, as docs/hooks.md tells. They
	// and all directories above them must be root's and writable by root only.
	HookDirs []string
	// Hooks are functions of the caller's that do the same.
	Hooks []Hook
	// HookTimeout bounds each call of a hook. Zero: 30 s.
	HookTimeout time.Duration
}

// Mounted is one image mounted by Manager.Mount.
type Mounted struct {
	Volume  string `json:"volume"`
	Device  string `json:"device"`
	Path    string `json:"path"`
	FSType  string `json:"fstype"`
	Options string `json:"options"`
}

// RemoveRequest names a set to be removed.
type RemoveRequest struct {
	Name string
	// Flatten removes its store too where older sets read through it: they get the
	// chunks that only it has, while all is in use. Each of their stores must have
	// room for them, or nothing is changed (CodeNoSpace). The newest set of an origin
	// cannot be flattened, since the kernel copies into it still: what older ones need
	// of it stays as a layer.
	Flatten bool
	// Rate bounds that copying. Zero: nothing does.
	Rate Rate
	// Progress is called with the bytes copied so far into one volume's store, by the
	// goroutine that copies, which waits for it.
	Progress func(set string, done, total uint64)
}

// Beside is a set that has copies of its own made of each chunk.
type Beside struct {
	Set string `json:"set"`
	Why string `json:"why"` // why it does not read through a newer one; "" if the next create changes that
}
