// Package lab builds what scenarios on a real kernel need: devices, filesystems, mounts, writers. It uses dmsetup and the
// mkfs tools: independent witnesses of what dmsnap claims. Everything it makes is gone when the test ends, and the test
// fails if anything else is left.
package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/internal/newroot"
	"github.com/dmsnap/dmsnap/e2e/leak"
)

// Need skips a test on a plain host. In a guest it must run, and must leave nothing behind.
func Need(t *testing.T) {
	t.Helper()
	if os.Getenv("DMSNAP_E2E") == "" {
		t.Skip("needs a guest: run by e2e")
	}
	leak.Check(t)
}

// Full tells whether tests run at their full length, which takes hours: `e2e test --all`.
func Full() bool { return os.Getenv("DMSNAP_FULL") != "" }

// Narrow tells whether this is the second kernel of a normal run, which has less of what kernels hardly differ in.
func Narrow() bool { return os.Getenv("DMSNAP_NARROW") != "" }

// Wide is for a test of what kernels hardly differ in: a normal run has it on the first kernel only. It comes before Need, too.
func Wide(t *testing.T) {
	t.Helper()
	if Narrow() {
		t.Skip("needs other kernel: a normal run has this test on the first one only")
	}
}

// Long is for a test that a normal run has no time for. It comes before Need, which looks at the whole guest.
func Long(t *testing.T) {
	t.Helper()
	if os.Getenv("DMSNAP_E2E") != "" && !Full() {
		t.Skip("full length only: e2e test --all has it")
	}
}

// Rounds is how often a test repeats itself: few times in a normal run, all of them at full length.
func Rounds(t *testing.T, few, all int) int {
	t.Helper()
	n := few
	if Full() {
		n = all
	}
	t.Logf("%d rounds of %d", n, all)
	return n
}

// Disks are virtio disks of the guest. What is not in use has no signature of an earlier test's any more.
func Disks(t *testing.T, n int) []string {
	t.Helper()
	all := strings.Fields(strings.ReplaceAll(os.Getenv("DMSNAP_DISKS"), ",", " "))
	if len(all) < n {
		t.Fatalf("the guest has disks %v, %d are needed", all, n)
	}
	for _, disk := range all[:n] {
		blank(t, disk)
	}
	return all[:n]
}

// blank clears the ends of a disk that nobody has claimed.
func blank(t *testing.T, disk string) {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_WRONLY|os.O_EXCL|os.O_SYNC, 0)
	if errors.Is(err, unix.EBUSY) {
		return
	}
	if err == nil {
		err = errors.Join(clearEnds(f), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Run runs a command and fails the test if it fails.
func Run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// MiB in 512-byte sectors.
const MiB = 2048

// Linear makes a device-mapper device over a part of a disk.
func Linear(t *testing.T, name, disk string, startMiB, sizeMiB int) string {
	t.Helper()
	return Table(t, name, fmt.Sprintf("0 %d linear %s %d", sizeMiB*MiB, disk, startMiB*MiB))
}

// Table makes a device-mapper device of any table.
func Table(t *testing.T, name, table string) string {
	t.Helper()
	Run(t, "dmsetup", "create", name, "--table", table)
	t.Cleanup(func() { Run(t, "dmsetup", "remove", "--retry", name) })
	dev := "/dev/mapper/" + name
	clean(t, dev)
	return dev
}

// clean takes away what an earlier test left at the ends of a device: superblocks, labels of stores.
func clean(t *testing.T, dev string) {
	t.Helper()
	f, err := os.OpenFile(dev, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(clearEnds(f), f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func clearEnds(f *os.File) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	zeros := make([]byte, min(size, 2<<20))
	_, head := f.WriteAt(zeros, 0)
	_, tail := f.WriteAt(zeros, size-int64(len(zeros)))
	return errors.Join(head, tail)
}

// Store is a Linear device without a signature.
func Store(t *testing.T, name, disk string, startMiB, sizeMiB int) string {
	t.Helper()
	return Linear(t, name, disk, startMiB, sizeMiB)
}

// Format makes a filesystem. Nothing is left to initialise in the background, where it would be load of its own.
func Format(t *testing.T, fstype, dev string) {
	t.Helper()
	args := map[string][]string{
		"ext4":  {"-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"},
		"xfs":   {"-q", "-f", "--unsupported"}, // or it makes none that is small
		"btrfs": {"-q", "-f"},
		"vfat":  {"-F", "32"},
		"f2fs":  {"-q", "-f"},
	}[fstype]
	Run(t, "mkfs."+fstype, append(args, dev)...)
}

// Mount mounts a device on a fresh directory for the time of the test.
func Mount(t *testing.T, dev string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	Run(t, "mount", dev, dir)
	t.Cleanup(func() { Run(t, "umount", dir) })
	return dir
}

// Volume is a device with a mounted filesystem, and a store for it.
type Volume struct {
	Name, Device, Dir, Store string
}

// NewVolume makes one: origin on one disk, store on another.
func NewVolume(t *testing.T, name, fstype, originDisk, storeDisk string, startMiB, sizeMiB int) Volume {
	t.Helper()
	v := Volume{Name: name, Device: Linear(t, name, originDisk, startMiB, sizeMiB)}
	v.Store = Store(t, name+"-cow", storeDisk, startMiB, sizeMiB)
	if fstype != "" {
		Format(t, fstype, v.Device)
		v.Dir = Mount(t, v.Device)
	}
	return v
}

// Tool runs the dmsnap under test as users do, with a state directory of its own.
type Tool struct {
	t     *testing.T
	bin   string
	State string
	old   bool // an earlier version, whose JSON has fewer fields
}

// NewTool finds the binary that the harness built.
func NewTool(t *testing.T) *Tool {
	t.Helper()
	return newTool(t, "DMSNAP_BIN")
}

// NewTool32 is the build of 32 bits, on the same kernel.
func NewTool32(t *testing.T) *Tool {
	t.Helper()
	return newTool(t, "DMSNAP_BIN_32")
}

// NewToolOld is the dmsnap that users had before, on the same state as another.
func NewToolOld(t *testing.T, beside *Tool) *Tool {
	t.Helper()
	if os.Getenv("DMSNAP_BIN_OLD") == "" {
		t.Skip("history too short: the sources are a shallow clone")
	}
	old := newTool(t, "DMSNAP_BIN_OLD")
	old.State, old.old = beside.State, true
	return old
}

func newTool(t *testing.T, env string) *Tool {
	t.Helper()
	bin := os.Getenv(env)
	if bin == "" {
		t.Fatalf("%s does not name the binary under test", env)
	}
	return &Tool{t: t, bin: bin, State: filepath.Join(t.TempDir(), "state")}
}

// EnterRoot makes a mounted filesystem the root of the guest for the time of the test, with dmsnap and its state on it. A
// program that is to run meanwhile must be in /usr or run already.
func EnterRoot(t *testing.T, dir string) *Tool {
	t.Helper()
	leave, err := newroot.Enter(dir, map[string]string{"dmsnap": NewTool(t).bin})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := leave(); err != nil {
			t.Error(err)
		}
	})
	return &Tool{t: t, bin: "/dmsnap", State: "/var/lib/dmsnap"}
}

// Command is a call of dmsnap.
func (d *Tool) Command(args ...string) *exec.Cmd {
	return exec.Command(d.bin, append([]string{"--state-dir", d.State}, args...)...)
}

// OK runs dmsnap and fails the test unless it succeeds. It returns stdout.
func (d *Tool) OK(args ...string) string {
	d.t.Helper()
	out, stderr, code := d.Try(args...)
	if code != 0 {
		d.t.Fatalf("dmsnap %s: exit %d\n%s%s", strings.Join(args, " "), code, out, stderr)
	}
	return out
}

// Try runs dmsnap and returns what it said and its exit status.
func (d *Tool) Try(args ...string) (stdout, stderr string, code int) {
	d.t.Helper()
	var out, errs bytes.Buffer
	cmd := d.Command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.t.Fatal(err)
	}
	if !d.old {
		checkJSON(d.t, out.String())
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// Run runs dmsnap from any goroutine.
func (d *Tool) Run(args ...string) error {
	out, err := d.Command(args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("dmsnap %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Origins are the arguments of create for volumes with their stores.
func (d *Tool) Origins(volumes ...Volume) (args []string) {
	for _, v := range volumes {
		args = append(args, v.Device, "--store", v.Device+"="+v.Store)
	}
	return args
}

// Receipt is the part of a set's JSON that scenarios look at.
type Receipt struct {
	Consistency string
	Start, End  time.Time
	WindowUS    int64 `json:"window_us"`
	SkewUS      int64 `json:"skew_us"`
	Frozen      []string
	Steps       []struct {
		Step string
		AtUS int64 `json:"at_us"`
		US   int64
	}
}

// Held is the time in which a receipt claims that nobody could write: from the end of the last freeze to the start of the
// first thaw.
func (r Receipt) Held() (from, to time.Time) {
	to = r.End
	for _, s := range r.Steps {
		begun := r.Start.Add(time.Duration(s.AtUS) * time.Microsecond)
		switch ended := begun.Add(time.Duration(s.US) * time.Microsecond); {
		case strings.HasPrefix(s.Step, "freeze ") && ended.After(from):
			from = ended
		case strings.HasPrefix(s.Step, "thaw ") && begun.Before(to):
			to = begun
		}
	}
	return from, to
}

// StoreInfo is the part of a volume's store that scenarios look at.
type StoreInfo struct {
	Kind, Path, Why string
	SizeBytes       uint64 `json:"size_bytes"`
	UsedBytes       uint64 `json:"used_bytes"`
}

// Set is the part of a set's JSON that scenarios look at.
type Set struct {
	Name, State, UUID string
	Layer             bool
	Receipt           Receipt
	Volumes           []struct {
		Name, Device, State, Origin, Reason string
		Store                               StoreInfo
	}
}

// Create cuts a set of volumes and returns it.
func (d *Tool) Create(name string, volumes ...Volume) Set {
	d.t.Helper()
	return d.CreateWith(name, nil, volumes...)
}

// CreateWith is Create with more arguments.
func (d *Tool) CreateWith(name string, more []string, volumes ...Volume) Set {
	d.t.Helper()
	args := []string{"create"}
	for _, v := range volumes {
		args = append(args, v.Device)
	}
	for _, v := range volumes {
		args = append(args, "--store", v.Device+"="+v.Store)
	}
	return d.parse(d.OK(append(args, append(more, "--json", "--name", name)...)...))
}

// CreateOnly cuts a set of origins with nothing said but what more says.
func (d *Tool) CreateOnly(name, origin string, more ...string) Set {
	d.t.Helper()
	return d.parse(d.OK(append([]string{"create", origin, "--json", "--name", name}, more...)...))
}

// Show reads a set.
func (d *Tool) Show(name string) Set {
	d.t.Helper()
	return d.parse(d.OK("show", "--json", name))
}

func (d *Tool) parse(text string) Set {
	d.t.Helper()
	var out struct{ Sets []Set }
	if err := json.Unmarshal([]byte(text), &out); err != nil || len(out.Sets) != 1 {
		d.t.Fatalf("not one set: %v\n%s", err, text)
	}
	return out.Sets[0]
}
