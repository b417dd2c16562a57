package ioctltest

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/dmsnap/dmsnap/ioctl"
)

// Options choose the kernel and the host around it.
type Options struct {
	// Release is what uname reports; its first two numbers select the
	// behaviour. Versions 6.1, 6.12 and 7.2 are known, others act like the
	// nearest one below. The default is "6.1.0".
	Release string
	// Udev runs a udev that handles every event before the call that caused
	// it returns. Without it nobody makes links in /dev/mapper or counts
	// semaphores down.
	Udev bool
	// NoRules leaves out udev's rules for device-mapper: it sees events, makes no
	// links and counts nothing down.
	NoRules bool
	// MergeStep is the number of chunks that a snapshot-merge copies back per
	// status query. Zero merges everything at resume.
	MergeStep int
	// Interposer installs the module of kernel/.
	Interposer bool
}

// Kernel is one host in memory. It is safe for concurrent use.
type Kernel struct {
	mu   sync.Mutex // one big kernel lock
	wake *sync.Cond // for device-mapper events: DEV_WAIT and poll

	opts   Options
	ver    version
	border *ioctl.Kernel
	euid   int
	pid    int

	log   []Call
	fail  func(Call) error
	hangs []string

	devices map[ioctl.DevNo]*device
	mapped  map[ioctl.DevNo]*mapped
	snaps   map[ioctl.DevNo][]*snapshot // by origin, in the order of loading
	origins map[ioctl.DevNo][]*origin
	eras    map[ioctl.DevNo]*eraState // by metadata device
	cuts    map[ioctl.DevNo][]cutFS   // by the store's device: a snapshot can be loaded again
	thins   map[string]*sparse
	modules map[string]bool
	loops   map[uint32]*device
	// fragments is the number of pieces new files are allocated in.
	fragments int

	root      *namespace
	spaces    map[uint64]*namespace
	files     map[string]*node // of filesystems that were mounted, by uuid
	supers    []*superblock
	procs     map[int]*process
	fds       map[int]*file
	sems      map[int]*sem
	knobs     map[string]string // writable sysfs and procfs values by path
	knobFiles map[string]*node  // their files, since locks are theirs

	boots                                 int
	uptime                                time.Duration
	nextIno, nextMount, nextAnon, nextSem int

	globalEvent uint32
	interrupts  int
	umask       uint32
	seq         int // orders resumes, for Protected
}

// version is the part of the release that behaviour depends on.
type version struct{ major, minor int }

func (v version) atLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

// New returns a kernel with /dev, /proc, /run and /sys mounted and no devices.
func New(opts Options) *Kernel {
	if opts.Release == "" {
		opts.Release = "6.1.0"
	}
	k := &Kernel{
		opts:    opts,
		pid:     os.Getpid(),
		devices: map[ioctl.DevNo]*device{},
		eras:    map[ioctl.DevNo]*eraState{},
		cuts:    map[ioctl.DevNo][]cutFS{},
		thins:   map[string]*sparse{},
		files:   map[string]*node{},
		nextIno: 2,
	}
	if _, err := fmt.Sscanf(opts.Release, "%d.%d", &k.ver.major, &k.ver.minor); err != nil {
		panic(fmt.Sprintf("ioctltest: release %q: %v", opts.Release, err))
	}
	k.wake = sync.NewCond(&k.mu)
	k.border = ioctl.New(&syscalls{k})
	k.boot(nil)
	return k
}

// boot sets up what a start of the machine does, on the files of the root
// filesystem.
func (k *Kernel) boot(files *node) {
	k.boots++
	k.uptime = 1000 * time.Second
	k.mapped = map[ioctl.DevNo]*mapped{}
	k.snaps = map[ioctl.DevNo][]*snapshot{}
	k.origins = map[ioctl.DevNo][]*origin{}
	k.modules = map[string]bool{}
	k.loops = map[uint32]*device{}
	k.supers, k.nextAnon = nil, 0
	k.fds = map[int]*file{}
	k.sems = map[int]*sem{}
	k.knobs, k.knobFiles = map[string]string{}, map[string]*node{}
	k.bootFiles(files)
	k.procs = map[int]*process{k.pid: {comm: "test", ns: k.root}}
}

// Reboot is a power cut and a start: disks and files stay, and nothing else
// does. What lived on a mounted filesystem is back when its device is mounted
// again; the files of the root are there at once.
func (k *Kernel) Reboot() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closeAll()
	files := k.root.mounts[0].sb.root
	for no, d := range k.devices {
		if d.dm != nil || d.no.Major == loopMajor {
			delete(k.devices, no)
		}
		d.opens, d.claims, d.freezes, d.frozenSB = 0, [claimKinds]int{}, 0, nil
	}
	k.boot(files)
	for _, d := range k.devices {
		k.addDevice(d)
	}
}

// Border returns the kernel as the code under test gets it.
func (k *Kernel) Border() *ioctl.Kernel { return k.border }

// SetEuid sets the effective user of the calling process; 0 at the start.
func (k *Kernel) SetEuid(uid int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.euid = uid
}

// DMMajor is the major number of device-mapper devices.
const DMMajor = 254

const sectorSize = 512
