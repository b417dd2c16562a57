package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm"
)

type doctorCmd struct {
	Origins []string `arg:"" optional:"" name:"origin" sep:"none" help:"Origins to check, as for create."`
}

func (doctorCmd) Help() string {
	return `Checks the kernel, its device-mapper targets, privileges and udev, and for each origin whether it can be snapshotted, ` +
		`how its filesystems would be frozen, and what stands in the way. Changes nothing.`
}

func (doctorCmd) manual() manual {
	return manual{
		examples: []string{"dmsnap doctor", "dmsnap doctor /home LABEL=data", "dmsnap doctor / --json"},
		exits:    []int{0, 1, 2, 7},
	}
}

func (c *doctorCmd) Run(ctx context.Context, env *Env) error {
	origins, err := absoluteAll(c.Origins)
	if err != nil {
		return &dm.Error{Op: "doctor", Code: dm.CodeUsage, Err: err}
	}
	r, err := env.Manager.Doctor(ctx, origins...)
	if err != nil {
		return err
	}
	if err := emit(env, "reports", []dm.Report{*r}, func(w io.Writer) { writeReport(w, r) }); err != nil {
		return err
	}
	if err := impossible(r); err != nil {
		return afterResult{err}
	}
	return nil
}

// impossible is the error of a report that found an obstacle: an origin asked
// for, or a host that can cut no set at all. A host's lesser problems are none.
func impossible(r *dm.Report) error {
	var blocked []string
	for _, o := range r.Origins {
		if !o.Possible {
			blocked = append(blocked, o.Origin)
		}
	}
	if len(blocked) > 0 {
		err := fmt.Errorf("not possible: %s", strings.Join(blocked, ", "))
		return &dm.Error{Op: "doctor", Code: dm.CodeUnsupported, Err: err}
	}
	if r.DM == "" || lacksTargets(r) {
		return &dm.Error{Op: "doctor", Code: dm.CodeUnsupported, Err: fmt.Errorf("not possible on this host")}
	}
	return nil
}

func udevText(running bool) string {
	if running {
		return "running"
	}
	return "not running; dmsnap creates device nodes itself"
}

// lacksTargets tells whether a target that every set needs is missing.
func lacksTargets(r *dm.Report) bool {
	return slices.ContainsFunc(r.Targets, func(t dm.TargetReport) bool {
		return t.Version == "" && !t.Loadable && (t.Name == "snapshot" || t.Name == "snapshot-origin")
	})
}

func writeReport(w io.Writer, r *dm.Report) {
	check(w, r.Kernel != "", "kernel", orDash(r.Kernel))
	check(w, r.DM != "", "device-mapper", orDash(r.DM))
	check(w, r.Privileged, "privileged", yesNo(r.Privileged))
	check(w, true, "udev", udevText(r.Udev))
	for _, t := range r.Targets {
		version := orDash(t.Version)
		if t.Loadable {
			version = "not loaded"
		}
		check(w, t.Version != "" || t.Loadable, "target "+t.Name, fmt.Sprintf("%s\tfor %s", version, clean(t.NeededFor)))
	}
	for _, m := range r.Media {
		check(w, m.IOTimeout == nil || *m.IOTimeout > 0, "store "+clean(m.Volume), clean(m.Disk)+", "+timeoutText(m.IOTimeout))
	}
	writeProblems(w, r.Problems)
	for i := range r.Origins {
		fmt.Fprintln(w)
		writeOrigin(w, &r.Origins[i])
	}
}

func check(w io.Writer, ok bool, what, found string) {
	fmt.Fprintf(w, "%s\t%s\t%s\n", mark(ok), what, found)
}

func mark(ok bool) string {
	if ok {
		return "[ok]"
	}
	return "[--]"
}

func writeProblems(w io.Writer, problems []dm.Problem) {
	for _, p := range problems {
		fmt.Fprintf(w, "problem: %s\n", clean(p.Message))
		if p.Hint != "" {
			fmt.Fprintf(w, "   hint: %s\n", clean(p.Hint))
		}
	}
}

func writeOrigin(w io.Writer, o *dm.OriginReport) {
	check(w, o.Possible, clean(o.Origin), deviceText(o.Device, o.Devno))
	fmt.Fprintf(w, "\tredirector\t%s%s\n", orDash(o.Redirector), attachedMark(o))
	if o.Layer != "" {
		fmt.Fprintf(w, "\tlayer\t%s\n", clean(o.Layer))
	}
	for _, f := range o.Filesystems {
		text := fmt.Sprintf("%s on %s, frozen by %s", orDash(f.Type), list(f.Mountpoints), orDash(f.Method))
		if f.Method == "none" || f.Method == "" {
			text = fmt.Sprintf("%s on %s, not frozen", orDash(f.Type), list(f.Mountpoints))
		}
		if f.Reason != "" {
			text += ": " + clean(f.Reason)
		}
		fmt.Fprintf(w, "\tfilesystem\t%s\n", text)
	}
	writeProblems(w, o.Problems)
	for _, n := range o.Notes {
		fmt.Fprintf(w, "note: %s\n   hint: %s\n", clean(n.Message), clean(n.Hint))
	}
}

func attachedMark(o *dm.OriginReport) string {
	if o.Attached {
		return ", attached"
	}
	return ""
}
