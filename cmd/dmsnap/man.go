package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/dmsnap/dmsnap/dm"
)

type manCmd struct {
	Dir string `arg:"" help:"Directory to write to; created if missing."`
}

func (manCmd) Help() string {
	return `Writes the manual pages into a directory, for packages: dmsnap.8, one for each command, dmsnap.conf.5, dmsnap-profiles.5, dmsnap-concepts.7, dmsnap-hooks.7, dmsnap-recovery.7 and dmsnap-stores.7.`
}

func (manCmd) manual() manual {
	return manual{examples: []string{"dmsnap man man"}, exits: []int{0, 1, 2}}
}

// writtenFile is one file that a command wrote.
type writtenFile struct {
	Path string `json:"path"`
}

func (c *manCmd) Run(env *Env) error {
	app, err := grammar(env)
	if err != nil {
		return err
	}
	files, err := writePages(app, c.Dir)
	if err != nil {
		return &dm.Error{Op: "man", Code: dm.CodeFailed, Device: c.Dir, Err: err}
	}
	return emit(env, "files", files, func(w io.Writer) {
		for _, f := range files {
			fmt.Fprintln(w, clean(f.Path))
		}
	})
}

// grammar is the one grammar, as the parser sees it.
func grammar(env *Env) (*kong.Application, error) {
	p, err := newParser(&cli{}, env)
	if err != nil {
		return nil, err
	}
	return p.Model, nil
}

func writePages(app *kong.Application, dir string) (files []writtenFile, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	put := func(name, text string) {
		path := filepath.Join(dir, name)
		err = errors.Join(err, os.WriteFile(path, []byte(text), 0o644))
		files = append(files, writtenFile{path})
	}
	put("dmsnap.8", overviewPage(app))
	put("dmsnap.conf.5", configPage())
	put("dmsnap-profiles.5", profilesPage())
	put("dmsnap-concepts.7", conceptsPage())
	put("dmsnap-hooks.7", hooksPage())
	put("dmsnap-recovery.7", recoveryPage())
	put("dmsnap-stores.7", storesPage())
	for _, cmd := range app.Leaves(true) {
		put(pageName(cmd), commandPage(cmd))
	}
	return files, err
}

// pageName is dmsnap-create.8 for the command create.
func pageName(cmd *kong.Node) string { return commandName(cmd) + ".8" }

func commandName(cmd *kong.Node) string { return "dmsnap-" + cmd.Name }

func overviewPage(app *kong.Application) string {
	p := newPage("dmsnap", 8, app.Help)
	p.section("SYNOPSIS")
	p.line(".B dmsnap", `[\fIOPTION\fR]... \fICOMMAND\fR [\fIARGUMENT\fR]...`)
	p.section("DESCRIPTION")
	p.text("dmsnap takes snapshots of block devices that are in use. It inserts a snapshot-origin table beneath a mounted " +
		"filesystem without unmounting it, takes the snapshot of one or several volumes at the same instant, and undoes all of that when the set is removed. No command ever asks a question.")
	p.section("COMMANDS")
	for _, cmd := range app.Leaves(true) {
		p.item(cmd.Name, "", cmd.Help)
	}
	p.section("OPTIONS")
	p.flags(app.Flags)
	p.section("EXIT STATUS")
	p.exits(nil)
	p.section("ENVIRONMENT")
	p.item("NO_COLOR", "", "If set, log lines on a terminal are not coloured.")
	p.section("FILES")
	p.item(defaultConfig, "", "Defaults for dmsnap create.")
	p.item("/etc/dmsnap/"+profileSubdir, "", "Profiles of dmsnap run.")
	p.item(dm.DefaultHookDir, "", "Programs that quiesce applications for a snapshot.")
	p.item(dm.DefaultStateDir, "", "Set names, receipts and the journal.")
	p.item("/dev/mapper/dmsnap-SET-VOLUME", "", "The image of a volume.")
	p.section("SEE ALSO")
	all := []string{"dmsnap.conf.5", "dmsnap-profiles.5", "dmsnap-concepts.7", "dmsnap-hooks.7", "dmsnap-recovery.7", "dmsnap-stores.7"}
	for _, cmd := range app.Leaves(true) {
		all = append(all, pageName(cmd))
	}
	p.seeAlso(append(all, "dmsetup.8"))
	return p.String()
}

func commandPage(cmd *kong.Node) string {
	p := newPage(commandName(cmd), 8, cmd.Help)
	m := cmd.Target.Addr().Interface().(documented).manual()
	p.section("SYNOPSIS")
	synopsis := `[\fIOPTION\fR]...`
	for _, a := range cmd.Positional {
		synopsis += " " + argument(a)
	}
	p.line(".B "+roff("dmsnap "+cmd.Name), synopsis)
	p.section("DESCRIPTION")
	p.text(cmp.Or(cmd.Detail, cmd.Help))
	for _, a := range cmd.Positional {
		p.item("", strings.ToUpper(a.Name), a.Help)
	}
	p.section("OPTIONS")
	p.flags(cmd.Flags)
	if len(visible(cmd.Flags)) > 0 {
		p.line(".PP")
	}
	p.text("All options of dmsnap(8) are accepted too.")
	p.section("EXAMPLES")
	p.example(m.examples)
	p.section("EXIT STATUS")
	p.exits(m.exits)
	p.section("SEE ALSO")
	p.seeAlso([]string{"dmsnap.8"})
	return p.String()
}

// argument is how a synopsis shows one.
func argument(a *kong.Positional) string {
	text := `\fI` + roff(strings.ToUpper(a.Name)) + `\fR`
	if a.IsCumulative() {
		text += "..."
	}
	if !a.Required {
		text = "[" + text + "]"
	}
	return text
}
