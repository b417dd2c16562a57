package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm"
)

// Sizes of the picture, in pixels.
const (
	boxWidth, boxGap   = 250, 30
	lineHeight, layer  = 16, 60 // layer is the space between two rows of boxes
	margin, charsInBox = 20, 36
)

// box is a device in the picture.
type box struct {
	node         *dm.GraphNode
	lines        []string
	x, y, height int
}

// writeSVG draws a graph in rows: what stands on nothing above, disks below.
func writeSVG(w io.Writer, g *dm.Graph) {
	rows, boxes := layout(g)
	width, height := 0, margin
	for _, row := range rows {
		tallest := 0
		for i, b := range row {
			b.x, b.y = margin+i*(boxWidth+boxGap), height
			tallest = max(tallest, b.height)
		}
		width = max(width, 2*margin+len(row)*(boxWidth+boxGap)-boxGap)
		height += tallest + layer
	}
	height = max(height-layer+margin, 2*margin)
	fmt.Fprintf(w, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n", max(width, 2*margin), height)
	for _, row := range rows {
		for _, b := range row {
			for _, l := range b.node.Lower {
				if low := boxes[l]; low != nil {
					writeEdge(w, b, low)
				}
			}
		}
	}
	for _, row := range rows {
		for _, b := range row {
			writeBox(w, b)
		}
	}
	fmt.Fprintln(w, "</svg>")
}

// layout gives each device the row below all that stand on it.
func layout(g *dm.Graph) (rows [][]*box, boxes map[dm.DevNo]*box) {
	boxes = map[dm.DevNo]*box{}
	depth := map[dm.DevNo]int{}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		lines := append([]string{clean(n.Name)}, nodeFacts(n)...)
		if n.File != "" {
			lines = append(lines, clean(n.File))
		}
		boxes[n.Devno] = &box{node: n, lines: lines, height: (len(lines) + 1) * lineHeight}
		depth[n.Devno] = 0
	}
	// Longest way from above; there are no circles, so as many rounds as nodes do.
	for range g.Nodes {
		for _, n := range g.Nodes {
			for _, l := range n.Lower {
				depth[l] = max(depth[l], depth[n.Devno]+1)
			}
		}
	}
	for _, n := range g.Nodes {
		for len(rows) <= depth[n.Devno] {
			rows = append(rows, nil)
		}
		rows[depth[n.Devno]] = append(rows[depth[n.Devno]], boxes[n.Devno])
	}
	return slices.DeleteFunc(rows, func(r []*box) bool { return len(r) == 0 }), boxes
}

func writeEdge(w io.Writer, from, to *box) {
	x1, y1 := from.x+boxWidth/2, from.y+from.height
	x2, y2 := to.x+boxWidth/2, to.y
	fmt.Fprintf(w, "<path d=\"M%d %d C%d %d %d %d %d %d\" fill=\"none\" stroke=\"#555555\"/>\n", x1, y1, x1, y1+layer/2, x2, y2-layer/2, x2, y2)
}

func writeBox(w io.Writer, b *box) {
	fmt.Fprintf(w, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"4\" fill=\"%s\" stroke=\"#555555\"/>\n", b.x, b.y, boxWidth, b.height, colour(b.node))
	if used := b.node.UsedBytes; used != nil && b.node.SizeBytes > 0 {
		share := min(float64(*used)/float64(b.node.SizeBytes), 1)
		fmt.Fprintf(w, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"6\" fill=\"#c07030\"/>\n", b.x, b.y+b.height-6, share*boxWidth)
	}
	for i, line := range b.lines {
		weight := ""
		if i == 0 {
			weight = " font-weight=\"bold\""
		}
		fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\"%s>%s</text>\n", b.x+10, b.y+(i+1)*lineHeight, weight, xmlText(short(line)))
	}
}

// short cuts a line that would leave its box.
func short(line string) string {
	if r := []rune(line); len(r) > charsInBox {
		return string(r[:charsInBox-1]) + "…"
	}
	return line
}

func xmlText(s string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		return "" // a Builder takes everything
	}
	return b.String()
}
