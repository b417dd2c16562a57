package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

// supervisorCommand is how the tool calls itself as the parent of an executed
// command; not for users.
const supervisorCommand = "exec-supervisor"

type execCmd struct {
	Args          []string `arg:"" name:"origin" sep:"none" help:"A mount point or a device, as for dmsnap create. The command follows after --."`
	selection     `embed:""`
	As            string        `placeholder:"DIR" help:"Mount the images on this directory, seen by the command only, and leave all other paths alone."`
	Block         bool          `help:"Mount nothing: the command reads the devices, {dev}."`
	Only          bool          `help:"Leave out filesystems that are mounted below the given ones and are not in the set."`
	RW            []string      `name:"rw" sep:"none" placeholder:"DIR" help:"Directory that stays live and writable; may be repeated. /tmp, /var/tmp, /run, /dev/shm and the caches of backup programs always do."`
	AllowDegraded bool          `help:"Run the command even if the snapshot is less consistent than requested."`
	IfUnsupported string        `enum:"fail,live" default:"fail" placeholder:"fail|live" help:"Where no snapshot is possible: fail, or run the command on the live system (${default})."`
	KillAfter     time.Duration `default:"30s" placeholder:"DURATION" help:"How long the command may take to end when it must (${default})."`
	JSONFile      string        `name:"json-file" placeholder:"FILE" help:"Write what became of the command and its snapshot to this file, in any case."`
	Name          string        `short:"n" help:"Name of the set (default: made from the time)."`
	Store         []string      `sep:"none" placeholder:"[ORIGIN=]SPEC" help:"Where overwritten data is saved, as for dmsnap create."`
	ForceStore    bool          `help:"Use a store device even if it holds a filesystem or other signature: its contents are lost."`
	Size          dm.Size       `short:"s" placeholder:"SIZE" help:"Size of each store, as for dmsnap create."`
	Chunk         dm.Size       `short:"c" placeholder:"SIZE" help:"Copy-on-write unit, a power of two."`
	Label         []string      `sep:"none" placeholder:"KEY=VALUE" help:"Label the set; may be repeated."`
	FreezeTimeout time.Duration `default:"10s" placeholder:"DURATION" help:"Longest time writers may be blocked (${default})."`
	Consistency   string        `enum:"auto,app,fs,crash" default:"auto" placeholder:"auto|app|fs|crash" help:"As for dmsnap create (${default})."`
	Hooks         string        `placeholder:"DIR" help:"Also run the hooks in this directory, after those in ${hook_dir}."`
	HookTimeout   time.Duration `default:"30s" placeholder:"DURATION" help:"Time limit for each hook call (${default})."`
}

func (execCmd) Help() string {
	return `dmsnap exec ORIGIN... -- COMMAND [ARGUMENT...] takes a snapshot, runs the command, and removes the snapshot. ` +
		`The command sees the images, read-only, at the original paths; nobody else sees them there. ` +
		`In its arguments {time}, {unixtime}, {set}, {dir} and {dev} stand for the snapshot's; so do DMSNAP_TIME and so on in its environment. ` +
		`The exit status is the command's, unless the snapshot was lost or dmsnap itself failed.`
}

func (execCmd) manual() manual {
	return manual{
		examples: []string{
			"dmsnap exec / /home -- restic backup --one-file-system / /home",
			"dmsnap exec --all --allow-unproven /boot/efi -- restic backup / /home /boot",
			"dmsnap exec /home -- borg create ::home-{unixtime} /home",
			"dmsnap exec --as /mnt /srv -- rsync -a --delete {dir}/ backup:/srv/",
			"dmsnap exec --block /home -- dd if={dev} of=/backup/home.img bs=1M",
		},
		exits: []int{0, 124, 125, 126, 127},
	}
}

func (c *execCmd) Run(ctx context.Context, env *Env) error {
	r, err := c.request()
	if err != nil {
		err = &dm.Error{Op: "exec", Set: c.Name, Code: dm.CodeUsage, Err: err, Hint: "see dmsnap exec --help"}
		return endExec(env, &dm.Execution{Status: statusFailed}, err)
	}
	if r.Create.Policy, err = readConfig(env.Config); err != nil {
		return endExec(env, &dm.Execution{Status: statusFailed}, err)
	}
	return runExec(ctx, env, r, c.JSONFile)
}

// statusFailed is that of env(1) and timeout(1) for failures of their own.
const (
	statusLost   = 124
	statusFailed = 125
)

func (c *execCmd) request() (r dm.ExecRequest, err error) {
	origins, command, err := cutCommand(c.Args)
	if err != nil {
		return r, err
	}
	if len(origins) == 0 && c.none() {
		return r, errors.New("name at least one device or mount point before --, or use --all, --recursive or --vg")
	}
	if c.KillAfter <= 0 {
		return r, errors.New("--kill-after must be above zero")
	}
	create := createCmd{
		Origins: origins, selection: c.selection, Name: c.Name, Store: c.Store, ForceStore: c.ForceStore, Size: c.Size, Chunk: c.Chunk, Label: c.Label,
		FreezeTimeout: c.FreezeTimeout, Consistency: c.Consistency, Hooks: c.Hooks, HookTimeout: c.HookTimeout, Expires: time.Minute,
	}
	if r.Create, err = create.request(); err != nil {
		return r, err
	}
	r.Command, r.Block, r.Only, r.AllowDegraded, r.OrLive, r.KillAfter = command, c.Block, c.Only, c.AllowDegraded, c.IfUnsupported == "live", c.KillAfter
	if r.Writable, err = absoluteAll(c.RW); err == nil && c.As != "" {
		r.As, err = filepath.Abs(c.As)
	}
	return r, err
}

// cutCommand parts the arguments at "--".
func cutCommand(args []string) (before, command []string, err error) {
	i := slices.Index(args, "--")
	if i < 0 || i == len(args)-1 {
		return nil, nil, errors.New("no command was given: write it after --")
	}
	return args[:i], args[i+1:], nil
}

// runExec runs a command with the signals that are for it.
func runExec(ctx context.Context, env *Env, r dm.ExecRequest, jsonFile string) error {
	var file *os.File
	if jsonFile != "" {
		var err error
		if file, err = os.Create(jsonFile); err != nil { // before anything is done: an old verdict must not be taken for ours
			return endExec(env, &dm.Execution{Status: statusFailed}, &dm.Error{Op: "exec", Code: dm.CodeFailed, Err: err})
		}
	}
	x, err := execSignalled(ctx, env, r)
	if file != nil {
		err = errors.Join(err, writeVerdict(file, x, err))
	}
	return endExec(env, x, err)
}

// execSignalled runs a command that gets our signals. Those that end ctx go by the
// channel here.
func execSignalled(ctx context.Context, env *Env, r dm.ExecRequest) (*dm.Execution, error) {
	signals := make(chan os.Signal, 8)
	r.Signals = signals
	if all := execSignals(); len(all) > 0 {
		signal.Notify(signals, all...)
		defer signal.Stop(signals)
	}
	return env.Manager.Exec(context.WithoutCancel(ctx), r)
}

// execSignals are those that the command gets, but for the ones that our own
// parent had us ignore.
func execSignals() (all []os.Signal) {
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2} {
		if !signal.Ignored(s) {
			all = append(all, s)
		}
	}
	return all
}

// verdict is what became of a command, and of dmsnap.
type verdict struct {
	Exit      int           `json:"exit"` // status of dmsnap exec
	Execution *dm.Execution `json:"execution"`
	Error     *dm.Failure   `json:"error"` // null if dmsnap did its part
}

func writeVerdict(file *os.File, x *dm.Execution, err error) error {
	v := verdict{Execution: x, Exit: execStatus(x, err)}
	if err != nil {
		f := dm.FailureOf(err)
		v.Error = &f
	}
	var buf bytes.Buffer
	werr := encode(&buf, "executions", []verdict{v})
	if werr == nil {
		_, werr = buf.WriteTo(file)
	}
	if werr = errors.Join(werr, file.Sync(), file.Close()); werr != nil {
		return outputError(werr)
	}
	return nil
}

// execStatus is the command's status unless its result is not good for a reason of
// ours.
func execStatus(x *dm.Execution, err error) int {
	switch {
	case err == nil:
		return x.Status
	case x.Lost != "":
		return statusLost
	case !x.Ran && x.Status != 0:
		return x.Status
	}
	return statusFailed
}

// endExec prints an error. Standard output is the command's.
func endExec(env *Env, x *dm.Execution, err error) error {
	if err != nil {
		env.writeErrorText(err)
	}
	return relayed{execStatus(x, err)}
}
