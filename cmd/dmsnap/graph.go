package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dmsnap/dmsnap/dm"
)

type graphCmd struct {
	Names  []string `arg:"" optional:"" name:"name" sep:"none" help:"Sets, or origins as for create (default: all that have sets)."`
	Format string   `short:"f" enum:"text,svg,dot" default:"text" placeholder:"text|svg|dot" help:"text: trees; svg: a picture; dot: input for Graphviz (${default})."`
}

func (graphCmd) Help() string {
	return `Draws the live stack: origins, the devices above and below them, images and stores, with sizes, fill and states. ` +
		`It opens no block device and takes no lock. With no sets, nothing is printed.`
}

func (graphCmd) manual() manual {
	return manual{
		examples: []string{
			"dmsnap graph",
			"dmsnap graph nightly --format svg",
			"dmsnap graph /home --format dot | dot -Tpng",
			"dmsnap graph --json",
		},
		exits: []int{0, 1, 2, 4, 7},
	}
}

func (c *graphCmd) Run(ctx context.Context, env *Env) error {
	if env.JSON && c.Format != "text" {
		return &dm.Error{Op: "graph", Code: dm.CodeUsage, Err: errors.New("--json and --format exclude each other"), Hint: "see dmsnap graph --help"}
	}
	names, err := setsOrOrigins(c.Names)
	if err != nil {
		return &dm.Error{Op: "graph", Code: dm.CodeUsage, Err: err}
	}
	g, err := env.Manager.Graph(ctx, names...)
	if err != nil {
		return err
	}
	return emitPlain(env, "graphs", []dm.Graph{*g}, func(w io.Writer) {
		switch c.Format {
		case "svg":
			writeSVG(w, g)
		case "dot":
			writeDot(w, g)
		default:
			writeTrees(w, g)
		}
	})
}

// setsOrOrigins makes paths absolute; what has no slash may be a set.
func setsOrOrigins(names []string) ([]string, error) {
	var all []string
	for _, n := range names {
		if strings.Contains(n, "/") || n == "" || n == "." || n == ".." {
			var err error
			if n, err = absolute(n); err != nil {
				return nil, err
			}
		}
		all = append(all, n)
	}
	return all, nil
}

// drawing finds the nodes of a graph by number.
type drawing struct {
	nodes  map[dm.DevNo]*dm.GraphNode
	parent map[dm.DevNo]bool // something stands on it
}

func draw(g *dm.Graph) drawing {
	d := drawing{nodes: map[dm.DevNo]*dm.GraphNode{}, parent: map[dm.DevNo]bool{}}
	for i := range g.Nodes {
		d.nodes[g.Nodes[i].Devno] = &g.Nodes[i]
		for _, l := range g.Nodes[i].Lower {
			d.parent[l] = true
		}
	}
	return d
}

// writeTrees draws a tree for each device that nothing stands on. What is
// beneath several is drawn once.
func writeTrees(w io.Writer, g *dm.Graph) {
	d, drawn := draw(g), map[dm.DevNo]bool{}
	for i := range g.Nodes {
		if n := &g.Nodes[i]; !d.parent[n.Devno] {
			d.tree(w, n, "", "", drawn)
		}
	}
}

func (d drawing) tree(w io.Writer, n *dm.GraphNode, first, rest string, drawn map[dm.DevNo]bool) {
	if drawn[n.Devno] {
		fmt.Fprintf(w, "%s%s  (above)\n", first, clean(n.Name))
		return
	}
	drawn[n.Devno] = true
	fmt.Fprintf(w, "%s%s\n", first, strings.Join(append([]string{clean(n.Name)}, nodeFacts(n)...), "  "))
	lower := n.Lower
	if n.File != "" {
		fmt.Fprintf(w, "%s└─ %s  file\n", rest, clean(n.File))
	}
	for i, l := range lower {
		next, indent := "├─ ", "│  "
		if i == len(lower)-1 {
			next, indent = "└─ ", "   "
		}
		if low := d.nodes[l]; low != nil {
			d.tree(w, low, rest+next, rest+indent, drawn)
		}
	}
}

// nodeFacts says what there is to say of a device, the most telling first.
func nodeFacts(n *dm.GraphNode) []string {
	facts := []string{string(n.Role)}
	if n.Role == dm.RoleDevice {
		facts[0] = orDash(n.Targets)
		if n.Targets == "" {
			facts[0] = "disk"
		}
	}
	facts = append(facts, n.Devno.String(), sizeText(n.SizeBytes))
	if n.Set != "" {
		facts = append(facts, "of "+clean(n.Set))
	}
	if n.State != "" {
		facts = append(facts, string(n.State))
	}
	if n.UsedBytes != nil {
		facts = append(facts, fmt.Sprintf("%s used (%s)", bytesText(*n.UsedBytes), percent(*n.UsedBytes, n.SizeBytes)))
	}
	if n.Suspended {
		facts = append(facts, "SUSPENDED")
	}
	if len(n.Mounts) > 0 {
		facts = append(facts, "on "+list(n.Mounts))
	}
	return facts
}
