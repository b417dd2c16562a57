package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

// runsDir is where the runs of profiles are recorded, in the state directory.
func runsDir(env *Env) string { return filepath.Join(env.StateDir, "runs") }

// maxRuns is how many runs of a profile are remembered.
const maxRuns = 100

// history is the runs of one profile, the oldest first.
type history struct {
	Schema int       `json:"schema_version"`
	Runs   []pastRun `json:"runs"`
}

// pastRun is what is remembered of one run.
type pastRun struct {
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
	Exit    int       `json:"exit"`
	Fills   []fill    `json:"fills"`
}

// fill is how much was copied into the store of one volume, and in what time.
type fill struct {
	Origin    string  `json:"origin"`
	Seconds   float64 `json:"seconds"`
	UsedBytes uint64  `json:"used_bytes"`
	SizeBytes uint64  `json:"size_bytes"`
}

func historyPath(env *Env, profile string) string {
	return filepath.Join(runsDir(env), profile+".json")
}

// readHistory reads the runs of a profile. There may be none; and what a power cut
// tore is none, since nothing but statistics is lost with it.
func readHistory(env *Env, profile string) (h history, err error) {
	text, err := os.ReadFile(historyPath(env, profile))
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return h, err
	}
	if json.Unmarshal(text, &h) != nil {
		return history{}, nil
	}
	if h.Schema > schemaVersion {
		err = fmt.Errorf("%s was written by a newer version", historyPath(env, profile))
	}
	return h, err
}

// keepHistory adds the run to the history, and writes the metrics that come from it.
func (r *profileRun) keepHistory(cause error) error {
	h, err := readHistory(r.env, r.profile.Name)
	if err != nil {
		return r.notKept(err)
	}
	now := time.Now().UTC()
	h.Schema = schemaVersion
	h.Runs = append(h.Runs, pastRun{Started: r.result.Started, Ended: now, Exit: r.status(cause), Fills: append([]fill{}, r.fills...)})
	h.Runs = h.Runs[max(0, len(h.Runs)-maxRuns):]
	text, err := json.Marshal(h)
	if err == nil {
		err = writeWhole(historyPath(r.env, r.profile.Name), 0o600, append(text, '\n'))
	}
	if err == nil && r.profile.Textfile != "" {
		err = writeWhole(r.profile.Textfile, 0o644, runMetrics(r.profile.Name, h)) // the collector is another user
	}
	return r.notKept(err)
}

func (r *profileRun) notKept(err error) error {
	if err == nil {
		return nil
	}
	return &dm.Error{Op: "run", Code: dm.CodePartial, Err: fmt.Errorf("the run is over, but could not be recorded: %w", err)}
}

// fillsOf measures the stores of a set as they are now. Where it reads through another
// one nothing is copied into its store any more, and it says nothing.
func fillsOf(set *dm.Set, now time.Time) []fill {
	fills := []fill{}
	if set == nil || set.Created == nil {
		return fills
	}
	for _, v := range set.Volumes {
		if seconds := now.Sub(*set.Created).Seconds(); v.Store.UsedBytes != nil && v.ReadsThrough == "" && seconds > 0 {
			fills = append(fills, fill{Origin: v.Origin, Seconds: seconds, UsedBytes: *v.Store.UsedBytes, SizeBytes: v.Store.SizeBytes})
		}
	}
	return fills
}

// lockPoll is how often a lock that is held is tried again.
const lockPoll = 200 * time.Millisecond

// lockRun takes the lock of a profile's runs. It ends with the process at the latest.
func lockRun(ctx context.Context, env *Env, p *profile) (unlock func(), err error) {
	fail := func(err error) error { return &dm.Error{Op: "run", Code: dm.CodeFailed, Err: err} }
	if err := os.MkdirAll(runsDir(env), 0o700); err != nil {
		return nil, fail(err)
	}
	f, err := os.OpenFile(filepath.Join(runsDir(env), p.Lock+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fail(err)
	}
	end := time.Now().Add(p.LockWait)
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || ctx.Err() != nil || !time.Now().Before(end) {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(lockPoll):
		}
	}
	_ = f.Close()
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fail(err)
	}
	return nil, &dm.Error{
		Op: "run", Code: dm.CodeLocked, Err: fmt.Errorf("another run has the lock %s", p.Lock),
		Hint: "lock-wait in the profile says how long to wait",
	}
}
