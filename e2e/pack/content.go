package pack

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
	"time"
)

//go:embed nfpm.yaml.tmpl
var config string

// content is one package.
type content struct {
	Name, Arch, Version, License, Summary, Description, Time string

	Depends    []string
	Recommends []string // by Debian's names
	Files      []file
	Dirs       []string
	Scripts    map[string]string
}

// file goes from here to the user's machine.
type file struct {
	Source, Target, Type string
	Mode                 os.FileMode
	Format               string // only in this kind of package, if not empty
}

func (c *content) add(source, target string, mode os.FileMode) {
	c.Files = append(c.Files, file{Source: source, Target: target, Type: "file", Mode: mode})
}

func (b *builder) content(name, arch string) *content {
	return &content{Name: name, Arch: arch, Version: b.Version, Time: b.time.Format(time.RFC3339), Scripts: map[string]string{}}
}

// command is the package of the command itself. It depends on nothing: the binary is static.
func (b *builder) command(arch, binary string) (*content, error) {
	c := b.content("dmsnap", arch)
	c.License = "Apache-2.0"
	c.Summary = "snapshots of live block devices"
	c.Description = "  " + c.Summary + "\n  Takes snapshots of one or several mounted volumes at the same instant with the\n" +
		"  kernel's device-mapper. Needs no free space in a volume group and no spare disk."
	dist := filepath.Join(b.Source, "cmd/dmsnap/dist")
	c.add(binary, "/usr/bin/dmsnap", 0o755)
	for _, unit := range []string{
		"dmsnap-monitor.service", "dmsnap-guard.socket", "dmsnap-guard@.service",
		"dmsnap-recover.service", "dmsnap-expire.service", "dmsnap-expire.timer", "dmsnap-pin.service",
		"dmsnap@.service", "dmsnap@.timer",
	} {
		c.add(filepath.Join(dist, unit), "/usr/lib/systemd/system/"+unit, 0o644)
	}
	c.Dirs = []string{"/etc/dmsnap/hooks.d", "/etc/dmsnap/profiles.d"}
	c.add(filepath.Join(b.work, "completion.bash"), "/usr/share/bash-completion/completions/dmsnap", 0o644)
	c.add(filepath.Join(b.work, "completion.fish"), "/usr/share/fish/vendor_completions.d/dmsnap.fish", 0o644)
	zsh := filepath.Join(b.work, "completion.zsh")
	c.Files = append(
		c.Files,
		file{Source: filepath.Join(dist, "dmsnap.conf"), Target: "/etc/dmsnap/dmsnap.conf", Type: "config|noreplace", Mode: 0o644},
		file{Source: zsh, Target: "/usr/share/zsh/vendor-completions/_dmsnap", Type: "file", Mode: 0o644, Format: "deb"},
		file{Source: zsh, Target: "/usr/share/zsh/site-functions/_dmsnap", Type: "file", Mode: 0o644, Format: "rpm"},
	)
	c.add(filepath.Join(b.Source, "LICENSE"), "/usr/share/doc/dmsnap/copyright", 0o644)
	if err := b.addManual(c); err != nil {
		return nil, err
	}
	err := errors.Join(
		addAll(c, filepath.Join(b.Source, "docs/*.md"), "/usr/share/doc/dmsnap", 0o644),
		addAll(c, filepath.Join(b.Source, "docs/recipes/*.md"), "/usr/share/doc/dmsnap/recipes", 0o644),
		addAll(c, filepath.Join(b.Source, "docs/schema/*.json"), "/usr/share/doc/dmsnap/schema", 0o644),
		addAll(c, filepath.Join(b.Source, "docs/hooks/*"), "/usr/share/doc/dmsnap/hooks", 0o755),
	)
	for when, name := range map[string]string{"postinstall": "postinst", "preremove": "prerm", "postremove": "postrm"} {
		c.Scripts[when] = filepath.Join(dist, name)
	}
	return c, err
}

// addManual adds the pages, compressed as packages have them.
func (b *builder) addManual(c *content) error {
	pages, err := filepath.Glob(filepath.Join(b.work, "man/*.[1-9]"))
	if err != nil || len(pages) == 0 {
		return fmt.Errorf("no manual pages: %w", err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			return err
		}
		var packed bytes.Buffer
		w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			return err
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		if err := os.WriteFile(page+".gz", packed.Bytes(), 0o644); err != nil {
			return err
		}
		c.add(page+".gz", "/usr/share/man/man"+page[len(page)-1:]+"/"+filepath.Base(page)+".gz", 0o644)
	}
	return nil
}

// module is the package with the sources of the module, which DKMS compiles for every kernel. DKMS knows it by the package's version,
// so that it compiles anew what an upgrade brings.
func (b *builder) module() (*content, error) {
	c := b.content("dmsnap-dkms", "all")
	c.License = "GPL-2.0-only"
	c.Summary = "kernel module for snapshots of plain block devices, as source for DKMS"
	c.Description = "  " + c.Summary + "\n  With it dmsnap takes snapshots of plain partitions in use, such as the root."
	c.Depends = []string{"dkms"}
	c.Recommends = []string{"linux-headers-amd64 | linux-headers-arm64 | linux-headers-generic"}
	for when, name := range map[string]string{"postinstall": "dkms-postinst", "preremove": "dkms-prerm"} {
		path, err := b.versioned(filepath.Join("cmd/dmsnap/dist", name), "@VERSION@")
		if err != nil {
			return nil, err
		}
		c.Scripts[when] = path
	}
	c.add(filepath.Join(b.Source, "kernel/COPYING"), "/usr/share/doc/dmsnap-dkms/copyright", 0o644)
	return c, b.addSources(c, "/usr/src/dm-interpose-"+b.Version)
}

// addSources adds those of the module, with the package's version where they have one.
func (b *builder) addSources(c *content, target string) error {
	for _, pattern := range []string{"*.[ch]", "[A-Z]*", "dkms.conf"} {
		files, err := filepath.Glob(filepath.Join(b.Source, "kernel", pattern))
		if err != nil || len(files) == 0 {
			return fmt.Errorf("kernel/%s: no files: %w", pattern, err)
		}
		for _, f := range files {
			name := filepath.Base(f)
			if name == "dkms.conf" || name == "target.c" {
				if f, err = b.versioned(filepath.Join("kernel", name), sourceVersion); err != nil {
					return err
				}
			}
			c.add(f, target+"/"+name, 0o644)
		}
	}
	return nil
}

// sourceVersion is what stands for the version in kernel/, which can be installed without a package.
const sourceVersion = "1.1.0"

// versioned is a copy of a file of the source tree that names the package's version where it has a mark.
func (b *builder) versioned(name, mark string) (string, error) {
	text, err := os.ReadFile(filepath.Join(b.Source, name))
	if err != nil {
		return "", err
	}
	if !bytes.Contains(text, []byte(mark)) {
		return "", fmt.Errorf("%s does not contain %s", name, mark)
	}
	path := filepath.Join(b.work, filepath.Base(name))
	return path, os.WriteFile(path, bytes.ReplaceAll(text, []byte(mark), []byte(b.Version)), 0o755)
}

func addAll(c *content, pattern, target string, mode os.FileMode) error {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		return fmt.Errorf("%s: no files: %w", pattern, err)
	}
	for _, f := range files {
		c.add(f, target+"/"+filepath.Base(f), mode)
	}
	return nil
}

// pack makes a package of each format.
func (b *builder) pack(c *content, err error) error {
	if err != nil {
		return err
	}
	path := filepath.Join(b.work, "nfpm.yaml")
	var text bytes.Buffer
	if err := template.Must(template.New("nfpm").Parse(config)).Execute(&text, c); err != nil {
		return err
	}
	if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
		return err
	}
	for _, format := range Formats {
		target := filepath.Join(b.Dir, c.Name+"_"+c.Version+"_"+c.Arch+"."+format)
		if err := b.run(b.work, nil, nil, b.nfpm, "package", "--config", path, "--packager", format, "--target", target); err != nil {
			return err
		}
		b.files = append(b.files, target)
	}
	return nil
}
