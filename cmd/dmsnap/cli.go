package main

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/dmsnap/dmsnap/dm"
)

// cli is the grammar: global flags and commands, nothing else.
type cli struct {
	JSON     bool          `name:"json" short:"J" help:"Print one JSON object instead of text."`
	Quiet    bool          `short:"q" xor:"verbosity" help:"Log errors only."`
	Verbose  int           `short:"v" type:"counter" xor:"verbosity" help:"Log more: -v each action, -vv each step."`
	StateDir string        `placeholder:"DIR" default:"${state_dir}" help:"Where dmsnap keeps its state (${default})."`
	Wait     time.Duration `placeholder:"DURATION" help:"How long to wait while another dmsnap is using the same set, origin or store (default: do not wait)."`
	Config   string        `placeholder:"FILE" default:"${config}" help:"Configuration file with defaults for create (${default})."`
	Version  versionFlag   `help:"Print the version and exit."`

	Exec    execCmd    `cmd:"" group:"snapshot" help:"Run a command, such as a backup, that sees a snapshot at the original paths."`
	Shell   shellCmd   `cmd:"" group:"snapshot" help:"Look inside a set: a shell that sees it at the original paths."`
	Run     runCmd     `cmd:"" group:"snapshot" help:"Run a profile: a command with a snapshot, or a snapshot that stays."`
	Create  createCmd  `cmd:"" group:"snapshot" aliases:"snapshot" help:"Take a snapshot set: an image of each origin, all of the same instant."`
	List    listCmd    `cmd:"" group:"snapshot" aliases:"ls" help:"List all sets."`
	Show    showCmd    `cmd:"" group:"snapshot" help:"Show one set in detail."`
	Mount   mountCmd   `cmd:"" group:"snapshot" help:"Mount the images of a set read-only."`
	Umount  umountCmd  `cmd:"" group:"snapshot" help:"Unmount the images of a set."`
	Remove  removeCmd  `cmd:"" group:"snapshot" aliases:"rm" help:"Remove sets and restore the tables of their origins."`
	Prune   pruneCmd   `cmd:"" group:"snapshot" help:"Remove the sets that no keep rule keeps."`
	Hold    holdCmd    `cmd:"" group:"snapshot" help:"Keep a set even when its lease ends."`
	Release releaseCmd `cmd:"" group:"snapshot" help:"Undo hold: let the set expire when its lease ends."`

	Changed   changedCmd   `cmd:"" group:"data" help:"List where the image of a set differs from an earlier one's."`
	Bookmark  bookmarkCmd  `cmd:"" group:"data" help:"Keep of a set only the list of changed chunks."`
	Allocated allocatedCmd `cmd:"" group:"data" help:"List what of an image is in use."`

	Check   checkCmd   `cmd:"" group:"snapshot" help:"Tell whether a profile will work, and how long its stores last."`
	Extend  extendCmd  `cmd:"" group:"store" help:"Grow the stores of a set."`
	Monitor monitorCmd `cmd:"" group:"store" help:"Watch stores, grow them before they fill up, report events and metrics."`
	Unpin   unpinCmd   `cmd:"" group:"store" help:"Unpin the files of stores, so that their filesystems can be unmounted at shutdown."`

	Attach attachCmd `cmd:"" group:"device" help:"Bring a plain device under device-mapper and keep it there."`
	Detach detachCmd `cmd:"" group:"device" help:"Undo attach: give the plain device back."`

	Cut   cutCmd   `cmd:"" group:"fleet" help:"Take the snapshot that create --prepare prepared."`
	Abort abortCmd `cmd:"" group:"fleet" help:"Cancel what create --prepare prepared."`

	Doctor  doctorCmd  `cmd:"" group:"trouble" help:"Check whether this host and the given volumes can be snapshotted."`
	Why     whyCmd     `cmd:"" group:"trouble" help:"Explain the state of a set or an origin."`
	Graph   graphCmd   `cmd:"" group:"trouble" help:"Draw origins, images and stores as they are now."`
	Report  reportCmd  `cmd:"" group:"trouble" help:"Write a page about this host: sets, receipts, stores, devices."`
	Recover recoverCmd `cmd:"" group:"trouble" help:"Clean up after an interrupted dmsnap."`
	Thaw    thawCmd    `cmd:"" group:"trouble" help:"Emergency: thaw filesystems and resume devices held by dmsnap."`

	Completion completionCmd `cmd:"" group:"tool" help:"Print shell completion."`
	Man        manCmd        `cmd:"" group:"tool" help:"Write the manual pages."`
	VersionCmd versionCmd    `cmd:"" group:"tool" name:"version" help:"Print the version."`
}

// groups are how the help sorts the commands.
func groups() kong.Groups {
	return kong.Groups{
		"snapshot": "Snapshots:",
		"data":     "Copies of data:",
		"store":    "Stores:",
		"device":   "Plain devices:",
		"fleet":    "Several hosts at once:",
		"trouble":  "When something is wrong:",
		"tool":     "About dmsnap:",
	}
}

// errShown ends parsing once --help or --version has printed its text.
var errShown = errors.New("shown")

func newParser(c *cli, env *Env) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("dmsnap"),
		kong.Description("Point-in-time snapshots of live block devices, with the kernel's device-mapper."),
		kong.Writers(env.Stdout, env.Stderr),
		kong.Bind(env),
		kong.Vars{"hook_dir": dm.DefaultHookDir, "state_dir": dm.DefaultStateDir, "config": defaultConfig, "columns": usualColumns},
		kong.ConfigureHelp(kong.HelpOptions{
			Compact:             true,
			NoExpandSubcommands: true,
			FlagsLast:           true,
			WrapUpperBound:      100,
		}),
		groups(),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), durationMapper{}),
		kong.Help(printHelp),
		kong.Resolvers(kong.ResolverFunc(fromConfig)),
	)
}

// run is the whole program but for the process around it. It gives the exit
// status. Tests change its environment.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, open func(dm.Options) manager, change ...func(*Env)) int {
	env := &Env{Stdout: stdout, Stderr: stderr, JSON: wantsJSON(args), Colour: wantsColour(stdout), Now: time.Now()}
	for _, c := range change {
		c(env)
	}
	var c cli
	parser, err := newParser(&c, env)
	if err != nil {
		return env.finish(err)
	}
	k, err := parser.Parse(sortArgs(parser.Model, args))
	if errors.Is(err, errShown) {
		return exitOf(nil)
	}
	if err != nil {
		return env.finish(parseError(err, env))
	}
	env.JSON, env.Config, env.Verbose = c.JSON, c.Config, c.Verbose > 0
	stateDir, err := filepath.Abs(c.StateDir)
	if err != nil {
		return env.finish(err)
	}
	env.StateDir = stateDir
	env.Manager = open(dm.Options{StateDir: stateDir, Wait: c.Wait, Logger: newLogger(stderr, c.Quiet, c.Verbose)})
	k.BindTo(ctx, (*context.Context)(nil))
	return env.finish(k.Run())
}

// parseError gives a refused command line the library's form, so that it is
// printed and counted like every other error.
func parseError(err error, env *Env) error {
	if e, ok := errors.AsType[*dm.Error](err); ok {
		return e // --help or --version failed
	}
	e := &dm.Error{Op: "usage", Code: dm.CodeUsage, Hint: "see dmsnap --help"}
	if p, ok := errors.AsType[*kong.ParseError](err); ok && p.Context != nil {
		if cmd := p.Context.Selected(); cmd != nil {
			e.Op = cmd.Name
			e.Hint = "see dmsnap " + cmd.Name + " --help"
			e.Err = usageError(err, cmd.Name)
			if runsCommand([]string{cmd.Name}) {
				return endExec(env, &dm.Execution{Status: statusFailed}, e)
			}
			return e
		}
	}
	e.Err = usageError(err, "")
	return e
}

// wantsJSON looks for --json in a command line that may turn out to be wrong:
// its error, too, must be an object.
func wantsJSON(args []string) bool {
	want := false
	for _, a := range args {
		switch {
		case a == "--":
			return want
		case a == "--json":
			want = true
		case strings.HasPrefix(a, "--json="):
			want, _ = strconv.ParseBool(strings.TrimPrefix(a, "--json="))
		case len(a) > 1 && a[0] == '-' && strings.Trim(a[1:], "Jqv") == "":
			want = want || strings.ContainsRune(a, 'J')
		}
	}
	return want
}
