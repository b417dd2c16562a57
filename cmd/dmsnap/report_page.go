package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

//go:embed report.html
var reportTemplate string

// reportPage is what the template shows.
type reportPage struct {
	Host, Time, Version string
	Sets                []reportSet
	Bad                 int // sets that are not active
	Chains              []reportChain
	Stack               template.HTML
}

type reportSet struct {
	Name, State, Created, Labels, Lease string
	Bad                                 bool
	Facts                               []reportFact // of the receipt
	Window                              *windowChart
	Volumes                             []reportVolume
}

type reportFact struct{ Name, Text string }

type reportVolume struct {
	Name, State, Origin, Image, Mounts, Store, Used string
	Bad                                             bool
	Fill                                            *fillChart
}

// reportChain are the sets of one origin, each with what it reads through.
type reportChain struct {
	Origin string
	Links  []reportLink
}

type reportLink struct {
	Set, Through string
	Layers       int
}

func writePage(w io.Writer, p reportPage) error {
	t, err := template.New("report").Parse(reportTemplate)
	if err != nil {
		return err
	}
	return t.Execute(w, p)
}

func newReport(host string, now time.Time, sets []dm.Set, graph *dm.Graph) reportPage {
	p := reportPage{Host: host, Time: timeText(&now), Version: readBuild().String(), Chains: chains(sets)}
	for i := range sets {
		s := newReportSet(&sets[i], now)
		if s.Bad {
			p.Bad++
		}
		p.Sets = append(p.Sets, s)
	}
	if len(graph.Nodes) > 0 {
		var svg strings.Builder
		writeSVG(&svg, graph)
		p.Stack = template.HTML(svg.String()) // its text is escaped
	}
	return p
}

func newReportSet(s *dm.Set, now time.Time) reportSet {
	r := reportSet{Name: setName(s), State: string(s.State), Created: timeText(s.Created), Labels: labelText(s.Labels), Lease: "-", Bad: s.State != dm.StateActive}
	if s.Lease != nil {
		r.Lease = leaseText(s.Lease)
	}
	if s.Layer {
		r.Name += " (removed; others read through it)"
	}
	if s.Receipt != nil {
		r.Facts, r.Window = receiptFacts(s.Receipt), newWindowChart(s.Receipt)
	}
	for i := range s.Volumes {
		r.Volumes = append(r.Volumes, newReportVolume(s, &s.Volumes[i], now))
	}
	return r
}

func receiptFacts(r *dm.Receipt) []reportFact {
	facts := []reportFact{
		{"consistency", fmt.Sprintf("%s, requested %s", r.Consistency, orDash(r.Asked))},
		{"window", fmt.Sprintf("%s; writers of one volume were blocked for %s at most", microText(r.Window), microText(r.Blocked))},
		{"frozen", list(r.Frozen)},
	}
	if len(r.Unproven) > 0 {
		facts = append(facts, reportFact{"not verified", list(r.Unproven)})
	}
	for _, h := range r.Hooks {
		text := microText(h.Took)
		if h.Error != "" {
			text = clean(h.Error)
		}
		facts = append(facts, reportFact{"hook", fmt.Sprintf("%s %s: %s", clean(h.Hook), h.Event, text)})
	}
	return facts
}

func newReportVolume(s *dm.Set, v *dm.Volume, now time.Time) reportVolume {
	r := reportVolume{
		Name: clean(v.Name), State: string(v.State), Origin: orDash(v.Origin), Image: fmt.Sprintf("%s, %s", orDash(v.Device), sizeText(v.SizeBytes)),
		Mounts: list(v.Mountpoints), Store: storeText(&v.Store), Used: usedText(&v.Store), Bad: v.State != dm.StateActive,
	}
	if v.Reason != "" {
		r.State += ": " + clean(v.Reason)
	}
	if s.Created != nil {
		r.Fill = newFillChart(&v.Store, now.Sub(*s.Created))
	}
	return r
}

// chains are the origins of which a set reads through another one.
func chains(sets []dm.Set) (all []reportChain) {
	links := map[string][]reportLink{}
	chained := map[string]bool{}
	for i := range sets {
		for _, v := range sets[i].Volumes {
			links[v.Origin] = append(links[v.Origin], reportLink{setName(&sets[i]), v.ReadsThrough, v.Depth})
			chained[v.Origin] = chained[v.Origin] || v.ReadsThrough != ""
		}
	}
	for origin, l := range links {
		if chained[origin] {
			slices.SortStableFunc(l, func(a, b reportLink) int { return a.Layers - b.Layers })
			all = append(all, reportChain{clean(origin), l})
		}
	}
	slices.SortFunc(all, func(a, b reportChain) int { return strings.Compare(a.Origin, b.Origin) })
	return all
}
