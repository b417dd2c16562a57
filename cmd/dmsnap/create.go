package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

type createCmd struct {
	Origins       []string `arg:"" optional:"" name:"origin" sep:"none" help:"A block device, a mount point, UUID=, LABEL=, PARTUUID= or PARTLABEL=."`
	selection     `embed:""`
	Name          string        `short:"n" help:"Name of the set (default: made from the time)."`
	Store         []string      `sep:"none" placeholder:"[ORIGIN=]SPEC" help:"Where overwritten data is saved: an unused block device (its contents are lost); file:PATH, a new file or an existing directory; ram or ram:LIMIT; auto (default), which chooses. Repeatable, once per origin."`
	ForceStore    bool          `help:"Use a store device even if it holds a filesystem or other signature: its contents are lost."`
	Size          dm.Size       `short:"s" placeholder:"SIZE" help:"Size of each store (10g, 20% of the origin). Default: on a device, enough never to overflow; in a file or memory, an estimate from recent writes."`
	Chunk         dm.Size       `short:"c" placeholder:"SIZE" help:"Copy-on-write unit, a power of two (default 64k, more for stores above 256g)."`
	Persistent    bool          `xor:"mode" help:"Use the persistent store format, so that writers pay for the newest set only. This version does not bring the set back after a reboot."`
	Transient     bool          `xor:"mode" help:"Keep the exception table in memory even where older sets are persistent; writers then pay for both."`
	Writable      bool          `help:"Make the images writable; the origins stay untouched."`
	Label         []string      `sep:"none" placeholder:"KEY=VALUE" help:"Label the set; may be repeated."`
	Lease         string        `placeholder:"LEASE" help:"Remove the set automatically after this time (2h), when process N exits (pid:N), or at the next boot (boot). Default: keep it until it is removed."`
	FreezeTimeout time.Duration `default:"10s" placeholder:"DURATION" help:"Longest time writers may be blocked; after that the guard process unblocks them and the command fails (${default})."`
	Consistency   string        `enum:"auto,app,fs,crash" default:"auto" placeholder:"auto|app|fs|crash" help:"app: freeze filesystems and require every hook to succeed. fs: freeze; a failed hook is reported (exit 9). crash: no freeze. auto: app if hooks are installed, else fs (${default})."`
	Hooks         string        `placeholder:"DIR" help:"Also run the hooks in this directory, after those in ${hook_dir}."`
	HookTimeout   time.Duration `default:"30s" placeholder:"DURATION" help:"Time limit for each hook call (${default})."`
	DryRun        bool          `help:"Print the steps and change nothing."`
	Prepare       bool          `help:"Prepare the snapshot without taking it, and print a token for cut and abort. Writers are not blocked meanwhile."`
	Expires       time.Duration `default:"10m" placeholder:"DURATION" help:"How long the preparation is kept (${default})."`
}

func (createCmd) Help() string {
	return `Each origin becomes a volume of the set; its image is /dev/mapper/dmsnap-SET-VOLUME. ` +
		`Writers are blocked for a few milliseconds and notice nothing else. ` +
		`--store ORIGIN=SPEC applies to that origin, --store SPEC to all others.`
}

func (createCmd) manual() manual {
	return manual{
		examples: []string{
			"dmsnap create /home",
			"dmsnap create --all --except /mnt --allow-unproven /boot/efi",
			"dmsnap create /home --store /dev/vdc",
			"dmsnap create /home --store file:/srv/backup",
			"dmsnap create -n nightly /home --store /home=/dev/vdc /srv --store /srv=/dev/vdd",
			"dmsnap create LABEL=data --store /dev/vdc -s 20% --label job=7 --json",
			"dmsnap create /dev/vg/home --store /dev/vdc --dry-run",
		},
		exits: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
	}
}

func (c *createCmd) Run(ctx context.Context, env *Env) error {
	r, err := c.request()
	if err != nil {
		return &dm.Error{Op: "create", Set: c.Name, Code: dm.CodeUsage, Err: err, Hint: "see dmsnap create --help"}
	}
	if r.Policy, err = readConfig(env.Config); err != nil {
		return err
	}
	if c.DryRun {
		p, err := env.Manager.PlanCreate(ctx, r)
		if err != nil {
			return err
		}
		return emitPlans(env, []dm.Plan{*p})
	}
	if c.Prepare {
		return startHolder(ctx, env, job{StateDir: env.StateDir, JSON: env.JSON, Request: r, Expires: c.Expires})
	}
	s, err := env.Manager.Create(ctx, r)
	return emitCreated(env, s, err)
}

func writePreparation(w io.Writer, p preparation) {
	fmt.Fprintf(w, "prepared %s\n", clean(p.Name))
	field(w, "token", "%s", p.Token)
	field(w, "expires", "%s", timeText(&p.Expires))
}

// emitCreated prints a set that was cut; err is what Create or Cut returned.
func emitCreated(env *Env, s *dm.Set, err error) error {
	if s == nil {
		return err
	}
	if werr := emit(env, "sets", []dm.Set{*s}, func(w io.Writer) { env.writeSet(w, s) }); werr != nil {
		return changed("create", s.Name, werr)
	}
	switch {
	case err == nil:
		err = degraded(s)
	case dm.CodeOf(err) == dm.CodeFailed: // that would say nothing was changed
		err = &dm.Error{Op: "create", Set: s.Name, Code: dm.CodePartial, Err: err}
	}
	if err != nil {
		return afterResult{err}
	}
	return nil
}

// request turns the flags into what the library takes. An error is the user's.
func (c *createCmd) request() (dm.CreateRequest, error) {
	r := dm.CreateRequest{
		Name:      c.Name,
		StoreSize: c.Size, ForceStore: c.ForceStore, ChunkBytes: c.Chunk.Bytes,
		Persistent: c.Persistent, Transient: c.Transient, Writable: c.Writable,
		FreezeTimeout: c.FreezeTimeout, HookTimeout: c.HookTimeout,
		Consistency: map[string]dm.Consistency{"app": dm.Application, "fs": dm.Filesystem, "crash": dm.Crash}[c.Consistency],
	}
	if len(c.Origins) == 0 && c.none() {
		return r, errors.New("name at least one device or mount point, or use --all, --recursive or --vg")
	}
	if c.HookTimeout <= 0 {
		return r, fmt.Errorf("hook timeout %s is not positive", c.HookTimeout)
	}
	if c.Chunk.Percent != 0 {
		return r, fmt.Errorf("chunk size %s is a percentage: give a size such as 64k", c.Chunk)
	}
	if c.Chunk.Bytes&(c.Chunk.Bytes-1) != 0 {
		return r, fmt.Errorf("chunk size %s is not a power of two", c.Chunk)
	}
	if c.FreezeTimeout <= 0 {
		return r, fmt.Errorf("freeze timeout %s is not positive", c.FreezeTimeout)
	}
	if c.Expires <= 0 {
		return r, fmt.Errorf("expiry %s is not positive", c.Expires)
	}
	var err error
	if c.Lease != "" {
		if r.Lease, err = dm.ParseLease(c.Lease); err != nil {
			return r, err
		}
	}
	if r.HookDirs, err = hookDirs(c.Hooks); err != nil {
		return r, err
	}
	if r.Labels, err = parseLabels(c.Label); err != nil {
		return r, err
	}
	if r.Origins, err = absoluteAll(c.Origins); err != nil {
		return r, err
	}
	if err = c.apply(&r); err != nil {
		return r, err
	}
	stores, err := parseStores(c.Origins, c.Store)
	if err != nil {
		return r, err
	}
	r.Stores, err = absoluteStores(stores)
	return r, err
}

func parseLabels(pairs []string) (map[string]string, error) {
	labels := make(map[string]string)
	for _, p := range pairs {
		k, v, ok := strings.Cut(p, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("label %q is not KEY=VALUE", p)
		}
		if _, dup := labels[k]; dup {
			return nil, fmt.Errorf("label %s is given twice", k)
		}
		labels[k] = v
	}
	return labels, nil
}

// hookDirs are the system's directory, if there is one, and the user's.
func hookDirs(own string) (dirs []string, err error) {
	if _, err := os.Stat(dm.DefaultHookDir); err == nil {
		dirs = append(dirs, dm.DefaultHookDir)
	}
	if own == "" {
		return dirs, nil
	}
	own, err = filepath.Abs(own)
	return append(dirs, own), err
}

// degraded is the error of a cut that secured less than it was asked for, nil
// if it did not.
func degraded(s *dm.Set) error {
	r := s.Receipt
	if r == nil {
		return nil
	}
	e := &dm.Error{Op: "create", Set: s.Name, Code: dm.CodeDegraded}
	for _, h := range r.Hooks {
		if h.Error != "" {
			e.Err = errors.New("snapshot taken, but a hook failed: applications may not have been quiesced")
			e.Hint = h.Error
		}
	}
	if r.BelowAsked() {
		e.Err = errors.New("snapshot taken, but only crash-consistent: not every freeze could be verified")
		e.Hint = "not verified: " + strings.Join(r.NotAllowed(), ", ") + "; --allow-unproven accepts that of one, --consistency crash of all"
		for _, d := range r.Doubts {
			e.Hint += "; " + d.Device + ": " + d.Reason
		}
	}
	if e.Err == nil {
		return nil
	}
	return e
}
