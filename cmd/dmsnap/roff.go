package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// page is a manual page in the man macros (man(7)). It has no date, so that the
// same source gives the same page.
type page struct{ strings.Builder }

func newPage(name string, section int, summary string) *page {
	p := &page{}
	p.line(`.\" Made from the grammar of dmsnap by "dmsnap man".`)
	p.line(fmt.Sprintf(`.TH %s %d "" dmsnap "%s"`, roff(strings.ToUpper(name)), section, manSection(section)))
	p.section("NAME")
	p.line(roff(name) + ` \- ` + roff(strings.TrimSuffix(summary, ".")))
	return p
}

// manSection is what a section of the manual is called.
func manSection(n int) string {
	switch n {
	case 5:
		return "File formats"
	case 7:
		return "Miscellaneous information"
	}
	return "System administration"
}

func (p *page) line(lines ...string) {
	for _, l := range lines {
		p.WriteString(l + "\n")
	}
}

func (p *page) section(title string) { p.line(".SH " + title) }

// text is the first paragraph of a section; another one needs a .PP before it.
func (p *page) text(s string) { p.line(roff(s)) }

func (p *page) paragraphs(all ...string) {
	for i, s := range all {
		if i > 0 {
			p.line(".PP")
		}
		p.text(s)
	}
}

// itemWithValue is a key and what stands behind it.
func (p *page) itemWithValue(key, value, help string) {
	p.line(".TP", `\fB`+roff(key)+`\fR = \fI`+roff(value)+`\fR`, roff(help))
}

// item is a word in bold, or an argument in italics, with its explanation.
func (p *page) item(word, arg, help string) {
	p.line(".TP")
	if arg != "" {
		p.line(`\fI` + roff(arg) + `\fR`)
	} else {
		p.line(`\fB` + roff(word) + `\fR`)
	}
	p.line(roff(help))
}

func (p *page) flags(flags []*kong.Flag) {
	for _, f := range flags {
		if f.Hidden {
			continue
		}
		text := `\fB` + roff("--"+f.Name) + `\fR`
		if f.Short != 0 {
			text = `\fB` + roff("-"+string(f.Short)) + `\fR, ` + text
		}
		if wantsArgument(f) {
			text += ` \fI` + roff(f.FormatPlaceHolder()) + `\fR`
		}
		p.line(".TP", text, roff(f.Help))
	}
}

// wantsArgument tells whether a flag has a value.
func wantsArgument(f *kong.Flag) bool { return !f.IsBool() && !f.IsCounter() }

func (p *page) exits(only []int) {
	for _, s := range statuses() {
		if len(only) == 0 || slices.Contains(only, s.exit) {
			p.item(fmt.Sprint(s.exit), "", s.meaning)
		}
	}
}

func (p *page) example(lines []string) {
	p.line(".EX")
	for _, l := range lines {
		p.line(roff(l))
	}
	p.line(".EE")
}

// seeAlso names pages by their files: dmsnap.conf.5.
func (p *page) seeAlso(pages []string) {
	for i, file := range pages {
		comma := ","
		if i == len(pages)-1 {
			comma = ""
		}
		dot := strings.LastIndexByte(file, '.')
		p.line(".BR " + roff(file[:dot]) + " (" + file[dot+1:] + ")" + comma)
	}
}

// roff escapes text: a minus that is typed, a backslash, and a line that would
// be taken for a request.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "\n", " ").Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}
