// Package pack builds the packages that users install: static binaries, a deb and an rpm of the command, and a deb and an rpm
// with the sources of the module for DKMS. The same sources give the same bytes, wherever they lie.
package pack

import (
	"cmp"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Arches are the processors that packages are made for.
var Arches = []string{"amd64", "arm64"}

// Formats are the kinds of packages.
var Formats = []string{"deb", "rpm"}

// Options say what to build.
type Options struct {
	Source  string   // the directory of the module, with cmd/ and kernel/
	Dir     string   // where the results go; made if it is missing
	Arches  []string // all when empty
	Version string   // taken from the commit when empty
}

// Build makes everything and returns the files. It blocks until the compilers and nfpm are done, and needs the Go command only.
func Build(ctx context.Context, o Options) (files []string, err error) {
	if len(o.Arches) == 0 {
		o.Arches = Arches
	}
	for _, dir := range []*string{&o.Source, &o.Dir} {
		if *dir, err = filepath.Abs(cmp.Or(*dir, ".")); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp("", "dmsnap-pack-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	b := &builder{ctx: ctx, Options: o, work: work}
	if err := b.prepare(); err != nil {
		return nil, err
	}
	for _, arch := range o.Arches {
		target := filepath.Join(o.Dir, "dmsnap-"+arch)
		if err := b.compile(arch, target); err != nil {
			return nil, err
		}
		b.files = append(b.files, target)
		if err := b.pack(b.command(arch, target)); err != nil {
			return nil, err
		}
	}
	return b.files, b.pack(b.module())
}

// builder is one Build.
type builder struct {
	ctx context.Context
	Options
	work  string
	nfpm  string
	time  time.Time // of the commit
	files []string
}

// prepare compiles what the others need: nfpm, and the command for this machine, which writes its own manual and
// completions.
func (b *builder) prepare() error {
	host := filepath.Join(b.work, "dmsnap")
	b.nfpm = filepath.Join(b.work, "nfpm")
	err := b.run(filepath.Join(b.Source, "e2e/tools/nfpm"), nil, nil, "go", "build", "-o", b.nfpm, "github.com/goreleaser/nfpm/v2/cmd/nfpm")
	if err := errors.Join(err, b.compile(runtime.GOARCH, host)); err != nil {
		return err
	}
	if err := b.identify(host); err != nil {
		return err
	}
	if err := b.run(b.work, nil, nil, host, "man", "man"); err != nil {
		return err
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		out, err := os.Create(filepath.Join(b.work, "completion."+shell))
		if err != nil {
			return err
		}
		if err := errors.Join(b.run(b.work, nil, out, host, "completion", shell), out.Close()); err != nil {
			return err
		}
	}
	return nil
}

// compile builds the command. Paths and build ids of this machine stay out of it; the commit goes in.
func (b *builder) compile(arch, target string) error {
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch}
	return b.run(b.Source, env, nil, "go", "build", "-trimpath", "-buildvcs=auto", "-ldflags=-s -w -buildid=", "-o", target, "./cmd/dmsnap")
}

// identify reads version and time of the commit from a binary. Sources without a commit have neither.
func (b *builder) identify(binary string) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return fmt.Errorf("%s: %w", binary, err)
	}
	b.time = time.Unix(0, 0).UTC()
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			if b.time, err = time.Parse(time.RFC3339, s.Value); err != nil {
				return fmt.Errorf("%s: %w", binary, err)
			}
		}
	}
	b.Version = cmp.Or(b.Version, packageVersion(info.Main.Version))
	return nil
}

// packageVersion is a version of Go in a form that deb and rpm sort in the same order.
func packageVersion(v string) string {
	v, dirty := strings.CutSuffix(v, "+dirty")
	v, found := strings.CutPrefix(v, "v")
	if !found {
		v = "0.0.0"
	}
	v = strings.ReplaceAll(strings.Replace(v, "-", "~", 1), "-", ".")
	if dirty {
		v += "+dirty"
	}
	return v
}

func (b *builder) run(dir string, env []string, stdout *os.File, program string, args ...string) error {
	var said strings.Builder
	cmd := exec.CommandContext(b.ctx, program, args...)
	cmd.Dir, cmd.Env, cmd.Stderr = dir, append(os.Environ(), env...), &said
	cmd.Stdout = &said
	if stdout != nil {
		cmd.Stdout = stdout
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, said.String())
	}
	return nil
}
