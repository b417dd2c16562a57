package dm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestRequestIsChecked: what no host could fulfil is refused before a device is
// opened, by each call that takes a request.
func TestRequestIsChecked(t *testing.T) {
	hostOnly(t)
	good := CreateRequest{Name: "nightly", Origins: []string{"/home"}}
	for _, tt := range []struct {
		name   string
		change func(*CreateRequest)
		says   string
	}{
		{"no origin", func(r *CreateRequest) { r.Origins = nil }, "no origin"},
		{"odd name", func(r *CreateRequest) { r.Name = "a/b" }, "a/b"},
		{"unknown consistency", func(r *CreateRequest) { r.Consistency = "crsh" }, "crsh"},
		{"the command's short form", func(r *CreateRequest) { r.Consistency = "app" }, "app"},
		{"a consistency that only receipts have", func(r *CreateRequest) { r.Consistency = Unmounted }, "unmounted"},
		{"negative freeze timeout", func(r *CreateRequest) { r.FreezeTimeout = -time.Second }, "freeze timeout"},
		{"negative hook timeout", func(r *CreateRequest) { r.HookTimeout = -1 }, "hook timeout"},
		{"negative lease", func(r *CreateRequest) { r.Lease.For = -time.Hour }, "lease"},
		{"negative process", func(r *CreateRequest) { r.Lease.PID = -4 }, "-4"},
		{"two leases", func(r *CreateRequest) { r.Lease = Lease{For: time.Hour, Boot: true} }, "several"},
		{"empty label", func(r *CreateRequest) { r.Labels = map[string]string{"": "x"} }, "label"},
		{"label with =", func(r *CreateRequest) { r.Labels = map[string]string{"a=b": "x"} }, "a=b"},
		{"label of two lines", func(r *CreateRequest) { r.Labels = map[string]string{"a": "x\ny"} }, "label"},
		{"store for another origin", func(r *CreateRequest) { r.Stores = map[string]string{"/hom": "ram"} }, "/hom"},
		{"both formats", func(r *CreateRequest) { r.Persistent, r.Transient = true, true }, "persistent and transient"},
		{"odd chunk", func(r *CreateRequest) { r.ChunkBytes = 12 << 10 }, "12288"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t, ioctltest.Options{})
			calls := 0
			h.Fail(func(ioctltest.Call) error { calls++; return nil })
			r := good
			tt.change(&r)
			_, created := h.m.Create(context.Background(), r)
			_, planned := h.m.PlanCreate(context.Background(), r)
			_, prepared := h.m.Prepare(context.Background(), r)
			for _, err := range []error{r.Validate(), created, planned, prepared} {
				if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%v", err)
				}
			}
			if calls > 0 {
				t.Errorf("%d system calls", calls)
			}
		})
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}

// TestTwoWithoutAName are cut within one second.
func TestTwoWithoutAName(t *testing.T) {
	if a, b := nameOf(CreateRequest{}), nameOf(CreateRequest{}); a == b {
		t.Errorf("%s twice", a)
	}
}

// TestErrorWithoutACause is what a test of a program that uses this library makes.
func TestErrorWithoutACause(t *testing.T) {
	if got := (&Error{Op: "remove", Set: "a", Code: CodeBusy}).Error(); got != "remove a: busy" {
		t.Error(got)
	}
}
