package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/e2e/internal/wire"
)

const initPackage = "github.com/dmsnap/dmsnap/e2e/guest/init"

// earlyModules are needed to reach the host's files; all others are loaded from there.
var earlyModules = []string{"virtio_pci", "9pnet_virtio", "9p", "overlay"}

// rootModules are needed for a root on a disk.
var rootModules = []string{"virtio_blk", "ext4"}

// writeInitramfs makes the archive the kernel starts from: init, the early modules, and what init has to know.
func writeInitramfs(ctx context.Context, path string, image Image, options Options) error {
	program, err := buildInit(ctx, image.arch, filepath.Dir(path))
	if err != nil {
		return err
	}
	early := earlyModules
	if options.Root != "" {
		early = slices.Concat(early, rootModules)
	}
	modules, err := moduleFiles(ctx, image, early)
	if err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	buffered := bufio.NewWriterSize(file, 1<<20)
	archive := &cpioWriter{w: buffered}
	config := wire.Config{Release: image.Release, ModuleDir: image.ModuleDir, Udev: options.Udev, Network: options.Forward != 0, Programs: options.programs != ""}
	if options.Root != "" {
		config.Root = rootSerial
	}
	archive.dir("modules")
	for _, module := range modules {
		name, data, err := readModule(ctx, module)
		if err != nil {
			return err
		}
		archive.file("modules/"+name, 0o644, data)
		config.Early = append(config.Early, name)
	}
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	archive.file("config.json", 0o644, text)
	archive.file("init", 0o755, program)
	if err := archive.close(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return buffered.Flush()
}

// buildInit compiles the guest's first program. It needs the module's sources: the working directory must be inside.
func buildInit(ctx context.Context, arch, dir string) ([]byte, error) {
	target := filepath.Join(dir, "init")
	static := command{env: []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch, "GOFLAGS="}}
	if _, err := static.output(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", target, initPackage); err != nil {
		return nil, err
	}
	return os.ReadFile(target)
}

// moduleFiles lists the early modules with all they need, in load order.
func moduleFiles(ctx context.Context, image Image, early []string) ([]string, error) {
	var files []string
	seen := map[string]bool{}
	for _, name := range early {
		text, err := output(ctx, "modprobe", "-d", image.root, "-S", image.Release, "--show-depends", name)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			kind, path, _ := strings.Cut(strings.TrimSpace(line), " ")
			path, _, _ = strings.Cut(path, " ") // module options follow
			if kind == "insmod" && !seen[path] {
				seen[path] = true
				files = append(files, path)
			}
		}
	}
	return files, nil
}

// readModule reads a module, and unpacks it where the distribution packed it.
func readModule(ctx context.Context, path string) (name string, data []byte, err error) {
	name = filepath.Base(path)
	if base, packed := strings.CutSuffix(name, ".xz"); packed {
		text, err := output(ctx, "xz", "-dc", path)
		return base, []byte(text), err
	}
	data, err = os.ReadFile(path)
	return name, data, err
}
