package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

type runCmd struct {
	Profile  string `arg:"" name:"profile" help:"Name of a profile."`
	Notify   string `placeholder:"COMMAND" help:"Run this after the run, with its result as JSON on standard input."`
	JSONFile string `name:"json-file" placeholder:"FILE" help:"Write the result to this file, in any case."`
}

func (runCmd) Help() string {
	return `Does what a profile says: runs its command, which sees a snapshot, or takes a snapshot that stays. ` +
		`Profiles are the files profiles.d/NAME.conf beside the configuration file. ` +
		`With a command the exit status is as for dmsnap exec, otherwise as for dmsnap create. ` +
		`dmsnap@NAME.timer runs a profile every night.`
}

func (runCmd) manual() manual {
	return manual{
		examples: []string{
			"dmsnap run home",
			"dmsnap run home --notify /usr/local/bin/tell-admin",
		},
		exits: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 124, 125, 126, 127},
	}
}

// runResult is what became of one run of a profile.
type runResult struct {
	Profile   string        `json:"profile"`
	Started   time.Time     `json:"started"`
	Ended     time.Time     `json:"ended"`
	Exit      int           `json:"exit"` // status of dmsnap run
	Tries     int           `json:"tries"`
	Set       *dm.Set       `json:"set"`       // null if none was made
	Execution *dm.Execution `json:"execution"` // null without a command
	Pruned    []dm.Pruned   `json:"prunings"`  // sets of the profile, if it has keep rules
	Error     *dm.Failure   `json:"error"`     // null if dmsnap did its part
}

func (c *runCmd) Run(ctx context.Context, env *Env) error {
	p, err := readProfile(env, c.Profile)
	if err != nil {
		return err
	}
	if c.Notify != "" {
		if err := setWords(&p.Notify, c.Notify); err != nil {
			return &dm.Error{Op: "run", Code: dm.CodeUsage, Err: fmt.Errorf("--notify: %w", err), Hint: "see dmsnap run --help"}
		}
	}
	r := &profileRun{env: env, profile: p, result: runResult{Profile: p.Name, Started: time.Now().UTC(), Pruned: []dm.Pruned{}}}
	err = r.locked(ctx)
	r.end(err)
	if err = errors.Join(err, r.report(ctx, c.JSONFile)); err == nil || len(p.Command) > 0 {
		return r.exit(err)
	}
	if r.result.Set != nil {
		return afterResult{err}
	}
	return err
}

// profileRun is one run of a profile.
type profileRun struct {
	env     *Env
	profile *profile
	result  runResult
	fills   []fill // what is known of stores by now
}

// locked runs the profile while no other run has its lock.
func (r *profileRun) locked(ctx context.Context) error {
	unlock, err := lockRun(ctx, r.env, r.profile)
	if err != nil {
		return err
	}
	defer unlock()
	err = r.repeat(ctx)
	if r.status(err) == 0 && !r.profile.Keep.IsZero() {
		r.result.Pruned, err = r.env.Manager.Prune(ctx, r.profile.pruning(false))
	}
	return errors.Join(err, r.keepHistory(err))
}

// repeat runs the profile until a run is good, or there were enough.
func (r *profileRun) repeat(ctx context.Context) error {
	for {
		r.result.Tries++
		err := r.once(ctx)
		if r.status(err) == 0 || r.result.Tries > r.profile.Retries || !worthwhile(err) {
			return err
		}
		if err != nil {
			r.result.Set = nil // a set that is good serves the next try, too
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(r.profile.RetryAfter):
		}
	}
}

// worthwhile tells whether another try may end differently, and would not leave
// another set behind.
func worthwhile(err error) bool {
	if err == nil {
		return true // the command's failure
	}
	return !slices.Contains([]dm.Code{dm.CodeUsage, dm.CodeExists, dm.CodeUnsupported, dm.CodeDegraded, dm.CodePartial, dm.CodeUnrecovered}, dm.CodeOf(err))
}

func (r *profileRun) once(ctx context.Context) (err error) {
	p := r.profile
	if !p.stays() {
		r.result.Execution, err = execSignalled(ctx, r.env, p.request)
		r.result.Set = r.result.Execution.Set
		r.fills = fillsOf(r.result.Set, time.Now())
		return err
	}
	if r.result.Set == nil {
		err = r.create(ctx)
	}
	if err != nil || len(p.Command) == 0 {
		return err
	}
	see := p.request
	see.Create, see.Set = dm.CreateRequest{}, r.result.Set.Name
	r.result.Execution, err = execSignalled(ctx, r.env, see)
	if set := r.result.Execution.Set; set != nil {
		r.result.Set = set
	}
	return err
}

// create makes a set that stays. The one before it tells how much is written.
func (r *profileRun) create(ctx context.Context) error {
	p := r.profile
	sets, err := r.env.Manager.List(ctx)
	if err != nil {
		return err
	}
	if last := newestOf(sets, p.Name); last != nil {
		r.fills = fillsOf(last, time.Now())
	}
	request := p.request.Create
	request.Name = p.Name + time.Now().UTC().Format("-20060102-150405.000")
	r.result.Set, err = r.env.Manager.Create(ctx, request)
	if err == nil && !p.request.AllowDegraded {
		err = degraded(r.result.Set)
	}
	return err
}

// newestOf is the last set of a profile; nil if it has none.
func newestOf(sets []dm.Set, profile string) (newest *dm.Set) {
	for i, s := range sets {
		if s.Labels[profileLabel] == profile && s.Created != nil && (newest == nil || s.Created.After(*newest.Created)) {
			newest = &sets[i]
		}
	}
	return newest
}

// status is the exit status, err being an error of ours.
func (r *profileRun) status(err error) int {
	switch {
	case len(r.profile.Command) == 0:
		return exitOf(err)
	case r.result.Execution == nil:
		return statusFailed
	}
	return execStatus(r.result.Execution, err)
}

// end completes the result; err is ours, not the command's.
func (r *profileRun) end(err error) {
	r.result.Ended, r.result.Exit = time.Now().UTC(), r.status(err)
	if err != nil {
		f := dm.FailureOf(err)
		r.result.Error = &f
	}
}

// exit prints an error of a run that had a command, and gives the exit status.
func (r *profileRun) exit(err error) error {
	if err != nil {
		r.env.writeErrorText(err)
	}
	return relayed{r.status(err)}
}

// report tells everybody who wants to know.
func (r *profileRun) report(ctx context.Context, file string) error {
	var text bytes.Buffer
	if err := encode(&text, "runs", []runResult{r.result}); err != nil {
		return outputError(err)
	}
	var errs []error
	if file != "" {
		errs = append(errs, writeWhole(file, 0o644, text.Bytes()))
	}
	commands := [][]string{r.profile.Notify}
	if r.result.Exit != 0 {
		commands = append(commands, r.profile.OnFailure)
	}
	for _, command := range commands {
		if len(command) > 0 {
			errs = append(errs, r.notify(ctx, command, text.Bytes()))
		}
	}
	if len(r.profile.Command) == 0 && r.result.Set != nil { // otherwise standard output is the command's
		errs = append(errs, emit(r.env, "runs", []runResult{r.result}, func(w io.Writer) {
			r.env.writeSet(w, r.result.Set)
			writePruned(w, r.result.Pruned)
		}))
	}
	if err := errors.Join(errs...); err != nil {
		return &dm.Error{Op: "run", Code: dm.CodePartial, Err: fmt.Errorf("the run ended with status %d, which could not be reported: %w", r.result.Exit, err)}
	}
	return nil
}

// notifyTimeout is how long one notification may take.
const notifyTimeout = time.Minute

// notify runs a command that is told of the result. It may still run when we are told
// to end.
func (r *profileRun) notify(ctx context.Context, command []string, result []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), notifyTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "DMSNAP_PROFILE="+r.result.Profile, "DMSNAP_EXIT="+strconv.Itoa(r.result.Exit))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(result), r.env.Stderr, r.env.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", command[0], err)
	}
	return nil
}
