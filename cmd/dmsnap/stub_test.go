package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

// stub is a manager that answers from its fields and notes what it was asked.
type stub struct {
	sets     []dm.Set
	set      *dm.Set
	plan     *dm.Plan
	mounts   []dm.Mounted
	report   *dm.Report
	graph    *dm.Graph
	why      *dm.Explanation
	recovers *dm.Recovered
	thaws    *dm.Thawed
	unpinned []dm.Unpinned
	extents  *dm.ExtentList
	pruned   []dm.Pruned
	err      error
	fail     map[string]error // by "method name"

	request   dm.CreateRequest
	exec      dm.ExecRequest
	execution *dm.Execution
	extend    dm.ExtendRequest
	remove    dm.RemoveRequest
	prune     dm.PruneRequest
	monitor   dm.MonitorRequest
	notices   []dm.Event
	calls     []string
}

func (s *stub) call(method, name string) error {
	s.calls = append(s.calls, strings.TrimSpace(method+" "+name))
	if err, ok := s.fail[method+" "+name]; ok {
		return err
	}
	return s.err
}

func (s *stub) Create(_ context.Context, r dm.CreateRequest) (*dm.Set, error) {
	s.request = r
	return s.set, s.call("create", r.Name)
}

func (s *stub) Exec(_ context.Context, r dm.ExecRequest) (*dm.Execution, error) {
	s.exec = r
	if s.execution == nil {
		s.execution = &dm.Execution{Ran: true}
	}
	return s.execution, s.call("exec", r.Set)
}

func (s *stub) Prepare(_ context.Context, r dm.CreateRequest) (*dm.Prepared, error) {
	s.request = r
	return nil, s.call("prepare", r.Name)
}

func (s *stub) PlanCreate(_ context.Context, r dm.CreateRequest) (*dm.Plan, error) {
	s.request = r
	return s.plan, s.call("plan create", r.Name)
}

func (s *stub) Extend(_ context.Context, r dm.ExtendRequest) (*dm.Set, error) {
	s.extend = r
	return s.set, s.call("extend", r.Name)
}

func (s *stub) PlanExtend(_ context.Context, r dm.ExtendRequest) (*dm.Plan, error) {
	s.extend = r
	return s.plan, s.call("plan extend", r.Name)
}

func (s *stub) Bookmark(_ context.Context, r dm.BookmarkRequest) (*dm.Set, error) {
	return s.set, s.call("bookmark", r.Name)
}

func (s *stub) PlanBookmark(_ context.Context, r dm.BookmarkRequest) (*dm.Plan, error) {
	return s.plan, s.call("plan bookmark", r.Name)
}

func (s *stub) Monitor(_ context.Context, r dm.MonitorRequest) error {
	s.monitor = r
	r.Look(s.sets)
	for _, n := range s.notices {
		r.Events(n)
	}
	return s.call("monitor", "")
}

// removalOf is how the tests write what was asked to be removed.
func removalOf(r dm.RemoveRequest) string {
	if r.Flatten {
		return "remove flatten"
	}
	return "remove"
}

func (s *stub) PlanRemove(_ context.Context, r dm.RemoveRequest) (*dm.Plan, error) {
	return s.plan, s.call("plan "+removalOf(r), r.Name)
}

func (s *stub) Remove(_ context.Context, r dm.RemoveRequest) error {
	s.remove = r
	return s.call(removalOf(r), r.Name)
}

func (s *stub) Prune(_ context.Context, r dm.PruneRequest) ([]dm.Pruned, error) {
	s.prune = r
	return s.pruned, s.call("prune", r.Keep.String())
}

func (s *stub) List(context.Context) ([]dm.Set, error) { return s.sets, s.call("list", "") }

func (s *stub) Show(_ context.Context, name string) (*dm.Set, error) {
	return s.set, s.call("show", name)
}

func (s *stub) MountWith(_ context.Context, r dm.MountRequest) ([]dm.Mounted, error) {
	return s.mounts, s.call("mount", r.Name+" "+r.Dir)
}

func (s *stub) Unmount(_ context.Context, name string) error { return s.call("umount", name) }

func (s *stub) Attach(_ context.Context, origin string) (*dm.Attachment, error) {
	return &dm.Attachment{
		Origin: "/dev/vda1", OriginDevno: dm.DevNo{Major: 254, Minor: 1}, Redirector: "module", Front: "/dev/mapper/dmsnap-front-vda1", Mountpoints: []string{"/"},
	}, s.call("attach", origin)
}

func (s *stub) AttachLayer(ctx context.Context, origin, table string) (*dm.Attachment, error) {
	a, err := s.Attach(ctx, origin)
	a.Layer = table
	return a, err
}

func (s *stub) Detach(_ context.Context, origin string) error { return s.call("detach", origin) }

func (s *stub) Recover(context.Context) (*dm.Recovered, error) {
	return s.recovers, s.call("recover", "")
}

func (s *stub) Hold(_ context.Context, name string) (*dm.Set, error) {
	return s.set, s.call("hold", name)
}

func (s *stub) Release(_ context.Context, name string) (*dm.Set, error) {
	return s.set, s.call("release", name)
}

func (s *stub) Changed(_ context.Context, r dm.ChangedRequest) (*dm.ExtentList, error) {
	return cmp.Or(s.extents, sampleExtents(nil)), s.call("changed", fmt.Sprint(r.Set, " ", r.Volume, " ", r.Since, " ", r.From))
}

func (s *stub) Allocated(_ context.Context, r dm.AllocatedRequest) (*dm.ExtentList, error) {
	return cmp.Or(s.extents, sampleExtents(nil)), s.call("allocated", fmt.Sprint(r.Set, " ", r.Volume, " ", r.From))
}

func (s *stub) Invalidate(_ context.Context, name string) error {
	return s.call("invalidate", name)
}

func (s *stub) Unpin(context.Context) ([]dm.Unpinned, error) { return s.unpinned, s.call("unpin", "") }

func (s *stub) Thaw(_ context.Context, all bool) (*dm.Thawed, error) {
	return s.thaws, s.call("thaw", fmt.Sprint(all))
}

func (s *stub) Doctor(_ context.Context, origins ...string) (*dm.Report, error) {
	return s.report, s.call("doctor", strings.Join(origins, " "))
}

func (s *stub) Why(_ context.Context, name string, _ time.Duration) (*dm.Explanation, error) {
	return s.why, s.call("why", name)
}

func (s *stub) Graph(_ context.Context, names ...string) (*dm.Graph, error) {
	return s.graph, s.call("graph", strings.Join(names, " "))
}

// outcome is what a user sees of one command.
type outcome struct {
	stdout, stderr string
	exit           int
}

func (o outcome) String() string {
	return fmt.Sprintf("-- stdout --\n%s-- stderr --\n%s-- exit --\n%d\n", o.stdout, o.stderr, o.exit)
}

// do runs a command line against m.
func do(t *testing.T, m manager, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	exit := run(t.Context(), args, &stdout, &stderr, func(dm.Options) manager { return m }, func(e *Env) { e.Now = at("2026-11-20T13:00:00.5Z") })
	return outcome{stdout.String(), stderr.String(), exit}
}

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t
}

func samplePruned() []dm.Pruned {
	return []dm.Pruned{
		{Set: "home-2", Created: at("2026-11-22T03:00:00Z"), Keep: true, Why: "daily 1 of 7: 2026-11-22"},
		{Set: "home-1", Created: at("2026-11-21T03:00:00Z"), Why: "daily: older than the last 7", Removed: true},
		{Set: "home-0", Created: at("2026-11-20T03:00:00Z"), Why: "its image is lost: invalid"},
	}
}

func nightly() *dm.Set {
	created := at("2026-11-20T11:00:00.5+01:00")
	used, meta, rate, left := uint64(13<<20), uint64(64<<10), dm.Rate(3<<10), 82944*time.Second
	frozen, thawed := 900*time.Microsecond, 4100*time.Microsecond
	return &dm.Set{
		Name: "nightly", UUID: "DMSNAP-0b51d2f0a6c84f0e", Created: &created, State: dm.StateOverflow,
		Labels: map[string]string{"job": "7", "a": "<b>"},
		Receipt: &dm.Receipt{
			Consistency: dm.Filesystem, Asked: dm.Filesystem, Start: created, End: created.Add(4180 * time.Microsecond),
			Window: 4180 * time.Microsecond, Skew: 310 * time.Microsecond, Frozen: []string{"/home", "/srv"},
			Blocked: thawed,
			Volumes: []dm.VolumeReceipt{{Name: "vg-home", Frozen: &frozen, Suspended: 1200 * time.Microsecond, Resumed: 3 * time.Millisecond, Thawed: &thawed, Blocked: thawed}},
			Hooks:   []dm.HookReceipt{{Hook: "/etc/dmsnap/hooks.d/10-db", Event: "pre-freeze", Took: 70 * time.Millisecond}},
			Steps:   []dm.StepReceipt{{Step: "freeze /home", Took: 900 * time.Microsecond}},
			Stores:  []dm.StoreReceipt{{Volume: "vg-srv", Kind: "file", Path: "/var/store", Why: "there is room"}},
		},
		Volumes: []dm.Volume{
			{
				Name: "vg-home", Origin: "/dev/mapper/vg-home", OriginDevno: dm.DevNo{Major: 254, Minor: 0}, Mountpoints: []string{"/home"},
				FSType: "ext4", Device: "/dev/mapper/dmsnap-nightly-vg-home", Devno: dm.DevNo{Major: 254, Minor: 5}, SizeBytes: 1 << 30,
				ChunkBytes: 64 << 10, State: dm.StateActive, ImageMounts: []string{"/mnt"},
				Store: dm.Store{Kind: "device", Path: "/dev/vdc", SizeBytes: 256 << 20, UsedBytes: &used, MetadataBytes: &meta, FillRate: &rate, FullIn: &left},
			},
			{
				Name: "vg-srv", Origin: "/dev/mapper/vg-srv", OriginDevno: dm.DevNo{Major: 254, Minor: 1}, Mountpoints: []string{"/srv\n/evil\x1b[31m"},
				Device: "/dev/mapper/dmsnap-nightly-vg-srv", Devno: dm.DevNo{Major: 254, Minor: 6}, SizeBytes: 3 << 29, ChunkBytes: 64 << 10,
				Writable: true, State: dm.StateOverflow, Reason: "store full",
				Store: dm.Store{Kind: "file", Path: "/var/store", Why: "there is room", SizeBytes: 300 << 20, Pinned: new(true)},
			},
		},
	}
}

// orphan is a set only the kernel's tables know.
func orphan() *dm.Set {
	return &dm.Set{UUID: "DMSNAP-77", State: dm.StateBroken, Volumes: []dm.Volume{{Name: "x", State: dm.StateBroken, Reason: "no front"}}}
}

func samplePlan() *dm.Plan {
	return &dm.Plan{Op: "create", Set: "nightly", Steps: []dm.PlanStep{
		{Phase: "prepare", Action: "create", Device: "dmsnap-base-vg-home", Table: []string{"0 2097152 linear 254:16 0"}, Undo: "remove"},
		{Phase: "window", Action: "freeze", Device: "254:0", Detail: "ext4 on /home", Undo: "thaw"},
		{Phase: "finish", Action: "settle", Device: "dmsnap-nightly-vg-home"},
	}}
}

func sampleReport() *dm.Report {
	return &dm.Report{
		Kernel: "6.1.192", DM: "4.47.0", Privileged: true,
		Targets: []dm.TargetReport{
			{Name: "snapshot", Version: "1.16.0", NeededFor: "images"},
			{Name: "era", NeededFor: "changed-block tracking"},
		},
		Origins: []dm.OriginReport{
			{
				Origin: "/home", Device: "/dev/mapper/vg-home", Devno: dm.DevNo{Major: 254, Minor: 0}, Redirector: "dm", Possible: true,
				Filesystems: []dm.FSReport{{Type: "ext4", Mountpoints: []string{"/home"}, Method: "fifreeze"}},
			},
			{
				Origin: "/", Device: "/dev/vda1", Devno: dm.DevNo{Major: 253, Minor: 1}, Redirector: "none",
				Filesystems: []dm.FSReport{{Type: "vfat", Mountpoints: []string{"/"}, Method: "none", Reason: "cannot be frozen"}},
				Problems:    []dm.Problem{{Message: "/dev/vda1 is not a device-mapper device", Hint: "attach it first"}},
			},
		},
	}
}

func sampleGraph() *dm.Graph {
	used := uint64(13 << 20)
	return &dm.Graph{Nodes: []dm.GraphNode{
		{Devno: dm.DevNo{Major: 254, Minor: 0}, Name: "vg-home", Role: "front", Targets: "snapshot-origin", SizeBytes: 1 << 30, Mounts: []string{"/home"}, Lower: []dm.DevNo{{Major: 254, Minor: 3}}},
		{Devno: dm.DevNo{Major: 254, Minor: 5}, Name: "dmsnap-nightly-vg-home", Role: "image", Targets: "snapshot", SizeBytes: 1 << 30, Set: "nightly", Volume: "vg-home", State: dm.StateInvalid, Lower: []dm.DevNo{{Major: 254, Minor: 3}, {Major: 254, Minor: 4}}},
		{Devno: dm.DevNo{Major: 254, Minor: 3}, Name: "dmsnap-base-vg-home", Role: "base", Targets: "linear", SizeBytes: 1 << 30, Suspended: true, Lower: []dm.DevNo{{Major: 252, Minor: 0}}},
		{Devno: dm.DevNo{Major: 254, Minor: 4}, Name: "dmsnap-store-nightly-vg-home", Role: "store", Targets: "linear", SizeBytes: 256 << 20, Set: "nightly", UsedBytes: &used, Lower: []dm.DevNo{{Major: 7, Minor: 0}}},
		{Devno: dm.DevNo{Major: 7, Minor: 0}, Name: "loop0", Role: "device", SizeBytes: 256 << 20, File: "/var/\"store\" <1>"},
		{Devno: dm.DevNo{Major: 252, Minor: 0}, Name: "vda", Role: "device", SizeBytes: 2 << 30},
	}}
}

func sampleExplanation() *dm.Explanation {
	fill, left := dm.Rate(1<<20), 243*time.Second
	return &dm.Explanation{
		Subject: "nightly", Kind: "set", Summary: "vg-srv: its image is invalid: its store is full (and 1 more)",
		Findings: []dm.Finding{
			{Level: dm.LevelOK, Topic: "state", Volume: "vg-home", Message: "its image is active"},
			{
				Level: dm.LevelProblem, Topic: "store", Volume: "vg-home", Message: "13m of 256m of its store are used", Hint: "remove the set soon",
				Load: &dm.Load{FillRate: &fill, FullIn: &left},
			},
			{
				Level: dm.LevelNote, Topic: "holder", Volume: "vg-home", Message: "its image is open in pid 42 (dd\x1b)",
				Holder: &dm.Holder{Kind: "process", Device: "/dev/mapper/dmsnap-nightly-vg-home", PID: 42, Command: "dd\x1b"},
			},
			{Level: dm.LevelProblem, Topic: "state", Volume: "vg-srv", Message: "its image is invalid: its store is full", Hint: "remove the set"},
		},
	}
}

func noRoom() error {
	return &dm.Error{
		Op: "remove", Set: "nightly", Device: "dmsnap-core-sunday-home", Code: dm.CodeNoSpace,
		Err:  errors.New("the store of set sunday has 67108864 bytes and needs 80000000 for the data it reads through"),
		Hint: "dmsnap extend sunday 78125k",
	}
}

func busy() error {
	return &dm.Error{
		Op: "remove", Set: "nightly", Step: "remove image", Device: "/dev/mapper/dmsnap-nightly-vg-home", Code: dm.CodeBusy,
		Err: &dm.BusyError{Device: "/dev/mapper/dmsnap-nightly-vg-home", Holders: []dm.Holder{
			{Kind: "mount", Device: "254:5", Path: "/mnt"},
			{Kind: "process", Device: "254:5", PID: 42, Command: "dd"},
		}},
		Hint: "dmsnap umount nightly",
	}
}

func underWay() error {
	return &dm.Error{
		Op: "thaw", Code: dm.CodeLocked, Err: errors.New("another dmsnap (pid 42) is using /dev/mapper/vg-home"), Hint: "dmsnap thaw --all interrupts it",
	}
}

func leased() *dm.Set {
	s, until := nightly(), at("2026-11-20T13:00:00Z")
	s.Lease = &dm.LeaseState{Lease: "2h0m0s", Until: &until, Held: true}
	return s
}

// endedSets are what recover finds of persistent sets after a reboot.
func endedSets() *dm.Recovered {
	used := uint64(13 << 20)
	return &dm.Recovered{Ended: []dm.EndedVolume{
		{Set: "nightly", Volume: "vg-home", Store: "/dev/vdc", Valid: true, UsedBytes: &used},
		{Set: "nightly", Volume: "vg-srv", Store: "/dev/vdd", UsedBytes: &used, Reason: "it was full or failed"},
		{Set: "weekly", Volume: "vg-home", Reason: "it was in memory"},
	}}
}
