package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

type checkCmd struct {
	Profile string `arg:"" name:"profile" help:"Name of a profile."`
}

func (checkCmd) Help() string {
	return `Tells beforehand whether a profile will work: reads it, looks for its commands, and plans its snapshot, as dmsnap create --dry-run does. ` +
		`Tells also how long each store lasts at the rate at which stores filled in the runs of the last 7 days, once there were some. Changes nothing.`
}

func (checkCmd) manual() manual {
	return manual{examples: []string{"dmsnap check home"}, exits: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 11}}
}

// checkResult is what was found out about a profile.
type checkResult struct {
	Profile string       `json:"profile"`
	Works   bool         `json:"works"`
	Finds   []checkFind  `json:"findings"`
	Stores  []storeGuess `json:"stores"` // none if no run is remembered
	err     error        // the first that is in the way
}

// checkFind is one thing that was looked at.
type checkFind struct {
	Level   dm.Level `json:"level"`
	Message string   `json:"message"`
	Hint    string   `json:"hint,omitempty"`
}

// storeGuess is how long a store lasts if writes go on as they did.
type storeGuess struct {
	Origin    string  `json:"origin"`
	SizeBytes uint64  `json:"size_bytes"` // as in the last run
	Rate      float64 `json:"fill_bytes_per_second"`
	Fastest   float64 `json:"fastest_bytes_per_second"`
	Seconds   *int64  `json:"full_in_seconds"` // at the fastest rate; null if nothing was written
	Runs      int     `json:"runs"`
}

func (c *checkCmd) Run(ctx context.Context, env *Env) error {
	p, err := readProfile(env, c.Profile)
	if err != nil {
		return err
	}
	r := &checkResult{Profile: p.Name, Works: true, Finds: []checkFind{}}
	r.note(dm.LevelOK, fmt.Sprintf("%s can be read", p.Path))
	r.commands(p)
	r.plan(ctx, env, p)
	h, err := readHistory(env, p.Name)
	if err != nil {
		r.problem(err, "")
	}
	r.stores(h, time.Now())
	if err := emit(env, "checks", []checkResult{*r}, func(w io.Writer) { writeCheck(w, r) }); err != nil {
		return err
	}
	if r.err != nil {
		return afterResult{r.err}
	}
	return nil
}

func (r *checkResult) note(level dm.Level, message string) {
	r.Finds = append(r.Finds, checkFind{Level: level, Message: message})
}

func (r *checkResult) problem(err error, hint string) {
	if r.Works {
		r.err = &dm.Error{Op: "check", Code: dm.CodeOf(err), Err: errors.New("the profile does not work: " + message(err)), Hint: hint}
	}
	r.Works = false
	r.Finds = append(r.Finds, checkFind{dm.LevelProblem, message(err), hint})
}

// commands looks for all programs that a run starts, and where it writes.
func (r *checkResult) commands(p *profile) {
	for _, command := range [][]string{p.Command, p.Notify, p.OnFailure} {
		if len(command) == 0 {
			continue
		}
		if path, err := exec.LookPath(command[0]); err != nil {
			r.problem(&dm.Error{Code: dm.CodeNotFound, Err: err}, "a service has the PATH of systemd: write the whole path")
		} else {
			r.note(dm.LevelOK, path+" can be run")
		}
	}
	if p.Textfile != "" {
		if _, err := os.Stat(filepath.Dir(p.Textfile)); err != nil {
			r.problem(&dm.Error{Code: dm.CodeNotFound, Err: fmt.Errorf("textfile: %w", err)}, "")
		}
	}
}

// plan has the snapshot planned.
func (r *checkResult) plan(ctx context.Context, env *Env, p *profile) {
	plan, err := env.Manager.PlanCreate(ctx, p.request.Create)
	switch {
	case err == nil:
		r.note(dm.LevelOK, fmt.Sprintf("the snapshot can be taken, in %d steps", len(plan.Steps)))
	case p.request.OrLive && dm.CodeOf(err) == dm.CodeUnsupported:
		r.note(dm.LevelNote, "no snapshot is possible, so that the command sees the live system: "+message(err))
	default:
		r.problem(err, dm.FailureOf(err).Hint)
	}
}

// rateDays is how far back runs tell how much is written.
const rateDays = 7

// stores guesses how long stores last, by what is remembered of runs.
func (r *checkResult) stores(h history, now time.Time) {
	r.Stores = guessStores(h, now)
	if len(r.Stores) == 0 {
		r.note(dm.LevelNote, fmt.Sprintf("how long its stores last is not known yet: no run of the last %d days has filled one", rateDays))
	}
	for _, s := range r.Stores {
		text := fmt.Sprintf("the store of %s, %s in the last run, was filled at %s/s by %d runs, %s/s at most", clean(s.Origin), bytesText(s.SizeBytes),
			bytesText(uint64(s.Rate)), s.Runs, bytesText(uint64(s.Fastest)))
		if s.Seconds != nil {
			text += fmt.Sprintf(": at that rate it lasts %v", time.Duration(*s.Seconds)*time.Second)
		}
		r.note(dm.LevelOK, text)
	}
}

func guessStores(h history, now time.Time) []storeGuess {
	all, seconds := []storeGuess{}, map[string]float64{}
	at := map[string]int{}
	for _, run := range h.Runs {
		if now.Sub(run.Ended) > rateDays*24*time.Hour {
			continue
		}
		for _, f := range run.Fills {
			i, known := at[f.Origin]
			if !known {
				i = len(all)
				at[f.Origin], all = i, append(all, storeGuess{Origin: f.Origin})
			}
			g := &all[i]
			seconds[f.Origin] += f.Seconds
			g.Rate += (float64(f.UsedBytes) - g.Rate*f.Seconds) / seconds[f.Origin] // the mean so far
			g.Fastest = max(g.Fastest, float64(f.UsedBytes)/f.Seconds)
			g.SizeBytes = f.SizeBytes
			g.Runs++
		}
	}
	for i := range all {
		if g := &all[i]; g.Fastest >= 1 {
			lasts := int64(float64(g.SizeBytes) / g.Fastest)
			g.Seconds = &lasts
		}
	}
	return all
}

func writeCheck(w io.Writer, r *checkResult) {
	for _, f := range r.Finds {
		fmt.Fprintf(w, "%s %s\n", levelMarks[f.Level], clean(f.Message))
		if f.Hint != "" {
			fmt.Fprintf(w, "     hint: %s\n", clean(f.Hint))
		}
	}
}
