package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

type showCmd struct {
	Name string `arg:"" help:"Name of the set."`
}

func (showCmd) Help() string {
	return `-v adds when each volume was blocked, and each step of the window.`
}

func (showCmd) manual() manual {
	return manual{
		examples: []string{
			"dmsnap show nightly",
			"dmsnap show nightly --json | jq '.sets[0].receipt'",
		},
		exits: []int{0, 1, 2, 4, 7},
	}
}

func (c *showCmd) Run(ctx context.Context, env *Env) error {
	s, err := env.Manager.Show(ctx, c.Name)
	if err != nil {
		return err
	}
	return emit(env, "sets", []dm.Set{*s}, func(w io.Writer) { env.writeSet(w, s) })
}

// field writes one line of a description.
func field(w io.Writer, name, format string, args ...any) {
	fmt.Fprintf(w, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
}

func (e *Env) writeSet(w io.Writer, s *dm.Set) {
	fmt.Fprintf(w, "set %s\n", setName(s))
	field(w, "state", "%s", e.stateText(s.State))
	field(w, "uuid", "%s", orDash(s.UUID))
	field(w, "created", "%s", agoText(s.Created, e.Now))
	field(w, "persistent", "%s", yesNo(s.Persistent))
	if s.Bookmark {
		field(w, "bookmark", "yes: the list of changed chunks is kept, and no image")
	}
	field(w, "labels", "%s", labelText(s.Labels))
	if s.Lease != nil {
		field(w, "lease", "%s", leaseText(s.Lease))
	}
	field(w, "auto-grow", "%s", growText(s))
	if s.Receipt != nil {
		e.writeReceipt(w, s.Receipt)
	}
	for i := range s.Volumes {
		fmt.Fprintln(w)
		e.writeVolume(w, &s.Volumes[i])
	}
}

// stateText is a state, in colour if it is not good.
func (e *Env) stateText(s dm.State) string {
	if !e.Colour {
		return string(s)
	}
	return paint(s, string(s))
}

// growText says whether stores that can overflow will grow.
func growText(s *dm.Set) string {
	short := slices.ContainsFunc(s.Volumes, func(v dm.Volume) bool { return v.Store.SizeBytes < v.Store.NeededBytes })
	switch {
	case s.Monitored:
		return "on"
	case short:
		return "off (no monitor running; start dmsnap-monitor.service or dmsnap monitor)"
	}
	return "not needed"
}

func (e *Env) writeReceipt(w io.Writer, r *dm.Receipt) {
	if r.Asked == r.Consistency {
		field(w, "consistency", "%s", r.Consistency)
	} else {
		field(w, "consistency", "%s, asked for %s", r.Consistency, r.Asked)
	}
	field(w, "window", "%s, volumes blocked for at most %s", microText(r.Window), microText(r.Blocked))
	field(w, "skew", "%s", microText(r.Skew))
	field(w, "frozen", "%s", list(r.Frozen))
	if len(r.Unproven) > 0 {
		field(w, "not verified", "%s", list(r.Unproven))
	}
	if len(r.Allowed) > 0 {
		field(w, "allowed", "%s", list(r.Allowed))
	}
	if len(r.Outside) > 0 {
		field(w, "not in the set", "%s", list(r.Outside))
	}
	for _, m := range r.Media {
		field(w, "medium", "%s: %s, %s", clean(m.Volume), clean(m.Disk), timeoutText(m.IOTimeout))
	}
	for _, d := range r.Doubts {
		field(w, "doubtful", "%s: %s", clean(d.Device), clean(d.Reason))
	}
	for _, h := range r.Hooks {
		result := "done"
		if h.Error != "" {
			result = clean(h.Error)
		}
		field(w, "hook", "%s %s, %s: %s", clean(h.Hook), h.Event, microText(h.Took), result)
	}
	if !e.Verbose {
		return
	}
	for _, v := range r.Volumes {
		field(w, "blocked", "%s", blockedText(&v))
	}
	for _, s := range r.Steps {
		field(w, "step", "at %s, %s: %s", microText(s.At), microText(s.Took), clean(s.Step))
	}
}

// timeoutText says how long writers wait for a disk that hangs.
func timeoutText(limit *time.Duration) string {
	switch {
	case limit == nil:
		return "I/O timeout unknown"
	case *limit == 0:
		return "no I/O timeout: if it hangs, writers of the origin hang too"
	}
	return fmt.Sprintf("I/O timeout %gs", limit.Seconds())
}

// leaseText is how long a set is wanted.
func leaseText(l *dm.LeaseState) string {
	text := "until removed"
	if l.Lease != "" {
		text = clean(l.Lease)
	}
	if l.Until != nil {
		text += ", until " + timeText(l.Until)
	}
	if l.Held {
		text += ", on hold"
	}
	if l.Expired {
		text += ", ended"
	}
	return text
}

// blockedText is when the writers of a volume were blocked.
func blockedText(v *dm.VolumeReceipt) string {
	text := clean(v.Name) + " for " + microText(v.Blocked) + ":"
	if v.Frozen != nil {
		text += " frozen at " + microText(*v.Frozen) + ","
	}
	text += " suspended at " + microText(v.Suspended) + ", resumed at " + microText(v.Resumed)
	if v.Thawed != nil {
		text += ", thawed at " + microText(*v.Thawed)
	}
	return text
}

func (e *Env) writeVolume(w io.Writer, v *dm.Volume) {
	fmt.Fprintf(w, "volume %s\n", clean(v.Name))
	if v.Reason == "" {
		field(w, "state", "%s", e.stateText(v.State))
	} else {
		field(w, "state", "%s: %s", e.stateText(v.State), clean(v.Reason))
	}
	field(w, "origin", "%s", deviceText(v.Origin, v.OriginDevno))
	if v.OriginLayer != "" {
		field(w, "layer", "%s", clean(v.OriginLayer))
	}
	field(w, "filesystem", "%s", orDash(v.FSType))
	field(w, "was mounted", "%s", list(v.Mountpoints))
	field(w, "image", "%s, %s, %s", deviceText(v.Device, v.Devno), sizeText(v.SizeBytes), access(v.Writable))
	field(w, "image mounts", "%s", list(v.ImageMounts))
	if v.ReadsThrough != "" {
		field(w, "reads through", "%s, and is lost with it; %d layers above the origin", clean(v.ReadsThrough), v.Depth)
	}
	if len(v.ReadBy) > 0 {
		field(w, "read by", "%s, lost with this one", list(v.ReadBy))
	}
	for _, b := range v.Beside {
		field(w, "beside", "%s", besideText(b))
	}
	field(w, "store", "%s", storeText(&v.Store))
	if v.Store.Pinned != nil {
		field(w, "umount", "%s", pinnedText(*v.Store.Pinned))
	}
	field(w, "used", "%s", usedText(&v.Store))
	field(w, "chunk", "%s", sizeText(v.ChunkBytes))
}

// besideText is about a set for which each chunk is copied too.
func besideText(b dm.Beside) string {
	text := "each chunk is also copied for " + orDash(b.Set) + " too"
	if b.Why != "" {
		text += ": " + clean(b.Why)
	}
	return text
}

func access(writable bool) string {
	if writable {
		return "writable"
	}
	return "read-only"
}

func storeText(s *dm.Store) string {
	text := orDash(s.Kind)
	if s.Path != "" {
		text += " " + clean(s.Path)
	}
	if len(s.Files) > 0 {
		text += ", then " + list(s.Files)
	}
	if len(s.Spill) > 0 {
		text += ", then " + list(s.Spill)
	}
	text += ", " + sizeText(s.SizeBytes)
	if s.Why != "" {
		text += ", chosen because " + clean(s.Why)
	}
	return text
}

// pinnedText is what an unmount of the filesystem meets that a store's file is on.
func pinnedText(held bool) string {
	if held {
		return "refused by the kernel until the set is removed"
	}
	return "possible, but the store would then overwrite data on the device; run dmsnap recover to pin the file again"
}

func usedText(s *dm.Store) string {
	if s.UsedBytes == nil {
		return "unknown"
	}
	text := fmt.Sprintf("%s (%s)", bytesText(*s.UsedBytes), percent(*s.UsedBytes, s.SizeBytes))
	if s.MetadataBytes != nil {
		text += fmt.Sprintf(", %s of it metadata", bytesText(*s.MetadataBytes))
	}
	if s.FillRate != nil && s.FullIn != nil {
		text += fmt.Sprintf("; %s/s since the snapshot, full in %s", bytesText(uint64(*s.FillRate)), roughly(*s.FullIn))
	}
	return text
}

// roughly gives a time in its two largest units.
func roughly(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= time.Hour:
		d = d.Round(time.Minute)
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.String()
}
