package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/dmsnap/dmsnap/dm"
)

// profileSubdir has the profiles, beside the configuration file.
const profileSubdir = "profiles.d"

// profileLabel is the label by which sets are known to be of a profile.
const profileLabel = "profile"

// profile is what dmsnap run does by one name.
type profile struct {
	Name, Path string
	Origins    []string
	Command    []string // none: the set itself is what is wanted
	Lease      dm.Lease
	Keep       dm.KeepRules
	Lock       string // runs with the same one follow each other
	LockWait   time.Duration
	Retries    int
	RetryAfter time.Duration
	Notify     []string // after each run
	OnFailure  []string // after one that was not good
	Textfile   string

	options []option // of exec, or of create without a command
	request dm.ExecRequest
}

// option is one of the command line, and the line of the file that it is on.
type option struct {
	line       int
	key, value string
}

// selects tells whether the option names origins by what they have in common.
func (o option) selects() bool {
	return o.key == "all" && o.value == "yes" || o.key == "recursive" || o.key == "vg"
}

var profileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$`)

// profilePath is the file of a profile.
func profilePath(env *Env, name string) string {
	return filepath.Join(filepath.Dir(env.Config), profileSubdir, name+".conf")
}

// readProfile reads a profile, and the policy with it.
func readProfile(env *Env, name string) (*profile, error) {
	if !profileName.MatchString(name) {
		return nil, &dm.Error{Op: "profile", Code: dm.CodeUsage, Err: fmt.Errorf("%q is not the name of a profile", name), Hint: "use up to 40 letters, digits, and . _ -"}
	}
	path := profilePath(env, name)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &dm.Error{Op: "profile", Device: path, Code: dm.CodeNotFound, Err: fmt.Errorf("there is no profile %s", name), Hint: "dmsnap-profiles(5) tells how to write one"}
	case err != nil:
		return nil, profileError(path, err)
	case len(text) > maxConfig:
		return nil, profileError(path, fmt.Errorf("%s is larger than %d bytes", path, maxConfig))
	}
	p, err := parseProfile(name, string(text))
	if err != nil {
		return nil, profileError(path, fmt.Errorf("%s:%w", path, err))
	}
	p.Path = path
	p.request.Create.Policy, err = readConfig(env.Config)
	return p, err
}

func profileError(path string, err error) error {
	return &dm.Error{Op: "profile", Device: path, Code: dm.CodeUsage, Err: err, Hint: "dmsnap-profiles(5) describes the file"}
}

// parseProfile reads KEY = VALUE lines. Those that are no keys of a profile are
// options of the command that it stands for.
func parseProfile(name, text string) (*profile, error) {
	app, err := grammar(&Env{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}})
	if err != nil {
		return nil, err
	}
	p := &profile{Name: name, Lock: name, RetryAfter: time.Minute}
	seen := map[string]bool{}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if err := p.read(i+1, line, seen); err != nil {
			return nil, fmt.Errorf("%d: %w", i+1, err)
		}
	}
	if len(p.Origins) == 0 && !slices.ContainsFunc(p.options, option.selects) {
		return nil, errors.New(" it names no origin")
	}
	var flags []string
	for _, o := range p.options { // which there are depends on the command, which may come last
		flag, err := o.flag(app, p.verb())
		if err != nil {
			return nil, fmt.Errorf("%d: %w", o.line, err)
		}
		flags = append(flags, flag)
	}
	if err := p.resolve(flags); err != nil {
		return nil, fmt.Errorf(" %w", err)
	}
	return p, nil
}

// stays tells whether the set outlives the run.
func (p *profile) stays() bool { return len(p.Command) == 0 || !p.Keep.IsZero() }

// verb is the command that the profile stands for.
func (p *profile) verb() string {
	if len(p.Command) > 0 {
		return "exec"
	}
	return "create"
}

func (p *profile) read(number int, line string, seen map[string]bool) error {
	if line[0] == '[' {
		return errors.New("a profile has no sections")
	}
	key, value, err := splitLine(line)
	if err != nil {
		return err
	}
	keys := profileKeys()
	i := slices.IndexFunc(keys, func(k profileKey) bool { return k.name == key })
	if i < 0 {
		p.options = append(p.options, option{number, key, value})
		return nil
	}
	if seen[key] && key != "origin" {
		return fmt.Errorf("%s is given twice", key)
	}
	seen[key] = true
	if err := keys[i].set(p, value); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// notInProfiles are options that only mean something on a command line.
var notInProfiles = []string{"name", "json-file", "dry-run", "prepare", "expires", "lease", "persistent"}

// flag is how the option is written on the command line.
func (o option) flag(app *kong.Application, verb string) (string, error) {
	cmd := app.Children[slices.IndexFunc(app.Children, func(n *kong.Node) bool { return n.Name == verb })]
	i := slices.IndexFunc(cmd.Flags, func(f *kong.Flag) bool { return f.Name == o.key })
	switch {
	case i < 0 || slices.Contains(notInProfiles, o.key):
		return "", fmt.Errorf("unknown key %q: it is neither a key of profiles nor an option of dmsnap %s", o.key, verb)
	case !cmd.Flags[i].IsBool():
		return "--" + o.key + "=" + o.value, nil
	case o.value == "yes" || o.value == "no":
		return fmt.Sprintf("--%s=%v", o.key, o.value == "yes"), nil
	}
	return "", fmt.Errorf("%s: write yes or no", o.key)
}

// resolve makes the request of what the options say.
func (p *profile) resolve(flags []string) error {
	args := slices.Concat([]string{p.verb()}, flags, p.Origins)
	if len(p.Command) > 0 {
		args = slices.Concat(args, []string{"--"}, p.Command)
	}
	var c cli
	parser, err := newParser(&c, &Env{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}})
	if err != nil {
		return err
	}
	if _, err := parser.Parse(sortArgs(parser.Model, args)); err != nil {
		return usageError(err, p.verb())
	}
	if len(p.Command) > 0 {
		p.request, err = c.Exec.request()
	} else {
		p.request.Create, err = c.Create.request()
	}
	if err != nil {
		return err
	}
	return p.finish(&p.request.Create)
}

// finish adds to a request what the profile itself says.
func (p *profile) finish(r *dm.CreateRequest) error {
	if _, taken := r.Labels[profileLabel]; taken {
		return fmt.Errorf("the label %s is the profile's own", profileLabel)
	}
	r.Labels[profileLabel] = p.Name
	switch {
	case p.Lease != (dm.Lease{}) && !p.stays():
		return errors.New("lease is for sets that stay, and one that is made for a command goes with it")
	case p.Lease != (dm.Lease{}) && !p.Keep.IsZero():
		return errors.New("lease and keep exclude each other: both say how long a set stays")
	case !p.Keep.IsZero():
		r.Persistent = !r.Transient && !r.Writable // so that writers pay for the newest set of the series only
	}
	r.Lease = p.Lease
	return r.Validate()
}
