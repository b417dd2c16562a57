package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/dmsnap/dmsnap/dm"
)

// writeDot writes a graph in the language of graphviz.
func writeDot(w io.Writer, g *dm.Graph) {
	fmt.Fprintln(w, "digraph dmsnap {\n  node [shape=box, style=filled, fontname=\"sans-serif\", fillcolor=\"#ffffff\"]")
	for i := range g.Nodes {
		n := &g.Nodes[i]
		label := strings.Join(append([]string{clean(n.Name)}, nodeFacts(n)...), "\n")
		fmt.Fprintf(w, "  %s [label=%s, fillcolor=%s]\n", dotText(n.Devno.String()), dotText(label), dotText(colour(n)))
		for _, l := range n.Lower {
			fmt.Fprintf(w, "  %s -> %s\n", dotText(n.Devno.String()), dotText(l.String()))
		}
		if n.File != "" {
			file := "file of " + n.Devno.String()
			fmt.Fprintf(w, "  %s [label=%s, shape=note]\n  %s -> %s\n", dotText(file), dotText(clean(n.File)), dotText(n.Devno.String()), dotText(file))
		}
	}
	fmt.Fprintln(w, "}")
}

// dotText quotes a string; nothing but quotes and backslashes is special.
func dotText(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`)
	return `"` + strings.ReplaceAll(s, "\n", `\n`) + `"`
}

// colour tells roles and bad states apart.
func colour(n *dm.GraphNode) string {
	switch {
	case n.Suspended, n.State != "" && n.State != dm.StateActive:
		return "#f6c6c0"
	case n.Role == "front":
		return "#cfe3f7"
	case n.Role == "image":
		return "#d3ecd0"
	case n.Role == "device":
		return "#eeeeee"
	}
	return "#fbf0c9"
}
