package main

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/dm"
	"github.com/dmsnap/dmsnap/dm/dmtest"
	"github.com/google/go-cmp/cmp"
)

// holding is a holder that runs in this process, on a host in memory.
type holding struct {
	first reply
	exit  chan int
	stop  context.CancelFunc
}

func startHold(t *testing.T, h *dmtest.Host, r dm.CreateRequest, expires time.Duration) *holding {
	t.Helper()
	var text bytes.Buffer
	if err := gob.NewEncoder(&text).Encode(job{JSON: true, Request: r, Expires: expires}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	k := &holding{exit: make(chan int, 1), stop: stop}
	mine, theirs := io.Pipe()
	go func() {
		k.exit <- keep(ctx, &text, theirs, func(dm.Options) manager { return h.Manager() })
	}()
	if err := json.NewDecoder(mine).Decode(&k.first); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *holding) token(t *testing.T) string {
	t.Helper()
	var out struct{ Preparations []preparation }
	if err := json.Unmarshal([]byte(k.first.Stdout), &out); err != nil || len(out.Preparations) != 1 {
		t.Fatalf("%v in %+v", err, k.first)
	}
	p := out.Preparations[0]
	if p.Name != "nightly" || p.PID == 0 || p.Expires.Before(time.Now()) {
		t.Errorf("%+v", p)
	}
	return p.Token
}

func expectClean(t *testing.T, h *dmtest.Host) {
	t.Helper()
	if left := h.Changes(); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

func TestHolderCuts(t *testing.T) {
	h := dmtest.LVM()
	k := startHold(t, h, h.Request("nightly"), time.Hour)
	token := k.token(t)
	if o := do(t, nil, "cut", strings.Repeat("0", 32)); o.exit != 4 {
		t.Error(o)
	}
	o := do(t, nil, "cut", token)
	if o.exit != 0 || !strings.HasPrefix(o.stdout, "set nightly\n") {
		t.Error(o)
	}
	if exit := <-k.exit; exit != 0 {
		t.Errorf("the holder ended with %d", exit)
	}
	if o := do(t, nil, "cut", token, "--json"); o.exit != 4 || !strings.Contains(o.stdout, `"code":"not_found"`) {
		t.Error(o)
	}
	if err := h.Manager().Remove(t.Context(), dm.RemoveRequest{Name: "nightly"}); err != nil {
		t.Error(err)
	}
	expectClean(t, h)
}

func TestHolderAborts(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, k *holding){
		"abort": func(t *testing.T, k *holding) {
			if o := do(t, nil, "abort", k.token(t), "--json"); o.exit != 0 || o.stdout != `{"schema_version":1,"preparations":[]}`+"\n" {
				t.Error(o)
			}
		},
		"signal": func(_ *testing.T, k *holding) { k.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			h := dmtest.LVM()
			k := startHold(t, h, h.Request("nightly"), time.Hour)
			end(t, k)
			if exit := <-k.exit; exit != 0 {
				t.Errorf("the holder ended with %d", exit)
			}
			expectClean(t, h)
		})
	}
}

func TestHolderExpires(t *testing.T) {
	h := dmtest.LVM()
	k := startHold(t, h, h.Request("nightly"), time.Nanosecond)
	if exit := <-k.exit; exit != 0 {
		t.Errorf("the holder ended with %d", exit)
	}
	expectClean(t, h)
}

// A preparation that fails is told as create would.
func TestHolderFails(t *testing.T) {
	h := dmtest.LVM()
	r := h.Request("nightly")
	r.StoreSize = dm.Size{Percent: 50}
	r.Origins = append(r.Origins, "/nowhere")
	k := startHold(t, h, r, time.Hour)
	if exit := <-k.exit; exit != 4 || k.first.Exit != 4 || !strings.Contains(k.first.Stdout, `"code":"not_found"`) {
		t.Errorf("ended with %d: %+v", exit, k.first)
	}
	expectClean(t, h)
}

func TestJobArrivesWhole(t *testing.T) {
	pid, err := dm.ParseLease("pid:1")
	if err != nil {
		t.Fatal(err)
	}
	sent := job{StateDir: "/state", Expires: time.Minute, Request: dm.CreateRequest{
		Name: "x", StoreSize: dm.Size{Percent: 20}, ChunkBytes: 4096, FreezeTimeout: time.Second, Lease: pid,
		Labels: map[string]string{"a": "b"}, HookDirs: []string{"/hooks"}, Consistency: dm.Crash,
	}}
	var text bytes.Buffer
	var got job
	if err := errors.Join(gob.NewEncoder(&text).Encode(sent), gob.NewDecoder(&text).Decode(&got)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sent, got); diff != "" {
		t.Error(diff)
	}
}

func TestTokens(t *testing.T) {
	for _, token := range []string{"", "x", "../etc/passwd", strings.Repeat("g", 32), strings.Repeat("a", 31)} {
		if o := do(t, nil, "abort", "--", token); o.exit != 4 {
			t.Errorf("%q: %s", token, o)
		}
	}
}
