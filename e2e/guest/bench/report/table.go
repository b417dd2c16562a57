package report

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Print writes one table for each filesystem, number of volumes and operation, then what is aimed at, then where the
// time of dmsnap goes.
func Print(w io.Writer, samples []Sample) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	var systems []string
	for _, s := range samples {
		if !slices.Contains(systems, s.FS) {
			systems = append(systems, s.FS)
		}
	}
	for _, fs := range systems {
		mine := series(slices.DeleteFunc(slices.Clone(samples), func(s Sample) bool { return s.FS != fs }))
		for _, volumes := range mine.sizes() {
			for _, op := range []string{Create, Remove} {
				fmt.Fprintf(tw, "\n%s, %d volume(s), %s; milliseconds\n", fs, volumes, op)
				mine.table(tw, volumes, op)
			}
		}
		fmt.Fprintf(tw, "\n%s: aims\n", fs)
		mine.aims(tw)
		for _, volumes := range mine.sizes() {
			fmt.Fprintf(tw, "\n%s, %d volume(s): where dmsnap create spends its time; milliseconds\n", fs, volumes)
			mine.of(volumes, Dmsnap, Create).breakdown(tw)
		}
	}
	return tw.Flush()
}

// sizes are the numbers of volumes, rising.
func (s series) sizes() (out []int) {
	for _, x := range s {
		out = append(out, x.Volumes)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (s series) table(w io.Writer, volumes int, op string) {
	fmt.Fprintln(w, "\tcuts\tgap\tp90\tp99\t/lvm\t/floor x\twall\tp90\tp99\t/lvm\twindow\tp90\tp99\t")
	peer, floor := s.of(volumes, LVM, op), s.of(volumes, Expedited, op)
	for _, method := range []string{Dmsnap, Crash, LVM, Dmsetup, Floor, Expedited, Nothing} {
		m := s.of(volumes, method, op)
		if len(m) == 0 {
			continue
		}
		g, c, own := m.stats(gap), m.stats(wall), m.stats(window)
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", method, len(m),
			ms(g.median), ms(g.p90), ms(g.p99), ratio(g, peer.stats(gap)), ratio(g, floor.stats(gap)),
			ms(c.median), ms(c.p90), ms(c.p99), ratio(c, peer.stats(wall)), ms(own.median), ms(own.p90), ms(own.p99))
	}
}

// aims compares medians with what is aimed at. Nothing fails: the machines are too noisy.
func (s series) aims(w io.Writer) {
	line := func(what string, a, b stats, limit float64) {
		if a.median == 0 || b.median == 0 {
			return
		}
		got, verdict := float64(a.median)/float64(b.median), "met"
		if got > limit {
			verdict = "MISSED"
		}
		fmt.Fprintf(w, "%s\t%.2f\taim %.2f\t%s\t\n", what, got, limit, verdict)
	}
	for _, v := range s.sizes() {
		ours, peer := s.of(v, Dmsnap, Create), s.of(v, LVM, Create)
		line(fmt.Sprintf("%d: gap to lvcreate's", v), ours.stats(gap), peer.stats(gap), 0.4)
		line(fmt.Sprintf("%d: gap to the expedited floor's", v), ours.stats(gap), s.of(v, Expedited, Create).stats(gap), 1.25)
		line(fmt.Sprintf("%d: wall to lvcreate's", v), ours.stats(wall), peer.stats(wall), 1.0/3)
		gone, peerGone := s.of(v, Dmsnap, Remove), s.of(v, LVM, Remove)
		line(fmt.Sprintf("%d: remove's gap to lvremove's", v), gone.stats(gap), peerGone.stats(gap), 1)
		line(fmt.Sprintf("%d: remove's wall to lvremove's", v), gone.stats(wall), peerGone.stats(wall), 1)
	}
	if sizes := s.sizes(); len(sizes) > 1 {
		many, one := s.of(sizes[len(sizes)-1], Dmsnap, Create), s.of(sizes[0], Dmsnap, Create)
		line("gap of many to one's", many.stats(gap), one.stats(gap), 2)
		line("window of many to one's", many.stats(window), one.stats(window), 2)
	}
}

// breakdown shows the median time from the first to the last call of each kind, in the order of the receipt, of what lies
// around them, and by how much a writer was held longer than the receipt's window.
func (s series) breakdown(w io.Writer) {
	var kinds []string
	sums := map[string][]int64{}
	for _, x := range s {
		between := x.WindowUS
		for kind, us := range x.spans(&kinds) {
			sums[kind] = append(sums[kind], us)
			between -= us
		}
		for kind, us := range map[string]int64{
			"between calls": between, "before the window": x.BeforeUS, "after the window": x.AfterUS, "gap beyond the window": beyond(x),
		} {
			sums[kind] = append(sums[kind], us)
		}
	}
	for _, kind := range slices.Concat([]string{"before the window"}, kinds, []string{"between calls", "after the window", "gap beyond the window"}) {
		st := statsOf(sums[kind])
		fmt.Fprintf(w, "%s\t%s\tp90 %s\tp99 %s\t\n", kind, ms(st.median), ms(st.p90), ms(st.p99))
	}
}

// spans are the times in which steps of each kind were under way; those of one kind run together. New kinds are noted.
func (x Sample) spans(kinds *[]string) map[string]int64 {
	first, last := map[string]int64{}, map[string]int64{}
	for _, step := range x.Steps {
		kind := step.kind()
		if !slices.Contains(*kinds, kind) {
			*kinds = append(*kinds, kind)
		}
		if _, seen := first[kind]; !seen {
			first[kind] = step.AtUS
		}
		first[kind] = min(first[kind], step.AtUS)
		last[kind] = max(last[kind], step.AtUS+step.US)
	}
	for kind := range first {
		last[kind] -= first[kind]
	}
	return last
}

func ms(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond))
}

func ratio(a, b stats) string {
	if b.median == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", float64(a.median)/float64(b.median))
}
