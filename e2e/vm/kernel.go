// Package vm runs programs as root on real kernels: it fetches distribution kernels, starts them in QEMU on top of
// the host's own files, and speaks with an agent in the guest.
package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Kernel is a row of the test matrix: a name for people, the Debian suite it comes from, and the end of its package's name.
type Kernel struct {
	Name, Suite, Flavour string
	Runs                 Runs
}

// Runs say which runs a kernel is part of without being named.
type Runs int

const (
	Named  Runs = iota // none: some tests are for it, not all
	Long               // those at full length
	Always             // every run
)

// Kernels is the matrix.
var Kernels = []Kernel{
	{"6.1", "bookworm", "amd64", Always},
	{"6.12", "bookworm-backports", "amd64", Always},
	{"sid", "sid", "amd64", Long},
	{"6.1-rt", "bookworm", "rt-amd64", Named},
	{"6.12-arm64", "bookworm-backports", arm64, Named},
}

const arm64 = "arm64"

// Arch is the processor the kernel is for, as Go and Debian call it.
func (k Kernel) Arch() string { return k.Flavour[strings.LastIndexByte(k.Flavour, '-')+1:] }

// Foreign tells that it is not the host's.
func (k Kernel) Foreign() bool { return k.Arch() != runtime.GOARCH }

// KernelsOf are the kernels of a run of that length.
func KernelsOf(length Runs) []Kernel {
	return slices.DeleteFunc(slices.Clone(Kernels), func(k Kernel) bool { return k.Runs < length })
}

// FindKernel looks a kernel up by its name in the matrix.
func FindKernel(name string) (Kernel, error) {
	var names []string
	for _, k := range Kernels {
		if k.Name == name {
			return k, nil
		}
		names = append(names, k.Name)
	}
	return Kernel{}, fmt.Errorf("no kernel %q, there are: %s", name, strings.Join(names, ", "))
}

// Image is an unpacked kernel: the file to boot and its tree of modules.
type Image struct {
	Release   string `json:"release"`
	Package   string `json:"package"`
	Vmlinuz   string `json:"vmlinuz"`
	ModuleDir string `json:"module_dir"`
	root      string
	arch      string
}

const metaName = "image.json"

// Fetch returns the kernel from the cache, and downloads it first when it is not there.
func Fetch(ctx context.Context, kernel Kernel) (Image, error) {
	cache, err := CacheDir()
	if err != nil {
		return Image{}, err
	}
	dir := filepath.Join(cache, "kernels", kernel.Name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return Image{}, err
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	image, err := readImage(dir, kernel)
	if !errors.Is(err, fs.ErrNotExist) {
		return image, err
	}
	if err := download(ctx, kernel, dir); err != nil {
		return Image{}, fmt.Errorf("fetch kernel %s: %w", kernel.Name, err)
	}
	return readImage(dir, kernel)
}

// download makes the kernel's directory complete under another name first: an interrupted fetch is never taken for a
// good one.
func download(ctx context.Context, kernel Kernel, dir string) error {
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	root := filepath.Join(partial, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	packages, err := unpackKernel(ctx, kernel, partial, root)
	if err != nil {
		return err
	}
	image, err := inspect(ctx, root)
	if err != nil {
		return err
	}
	image.Package = strings.Join(packages, " ")
	text, err := json.MarshalIndent(image, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(partial, metaName), append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(partial, dir)
}

// inspect finds out what was unpacked, paths relative to root, and indexes the modules.
func inspect(ctx context.Context, root string) (Image, error) {
	// modprobe and depmod look below lib only; newer packages use usr/lib.
	if err := os.Symlink("usr/lib", filepath.Join(root, "lib")); err != nil && !errors.Is(err, fs.ErrExist) {
		return Image{}, err
	}
	trees, err := os.ReadDir(filepath.Join(root, "lib", "modules"))
	if err != nil {
		return Image{}, err
	}
	if len(trees) != 1 {
		return Image{}, fmt.Errorf("want one tree of modules, found %v", trees)
	}
	release := trees[0].Name()
	modules := filepath.Join("lib", "modules", release)
	if _, err := output(ctx, "depmod", "-b", root, release); err != nil {
		return Image{}, err
	}
	for _, vmlinuz := range []string{"boot/vmlinuz-" + release, filepath.Join(modules, "vmlinuz")} {
		if _, err := os.Stat(filepath.Join(root, vmlinuz)); err == nil {
			return Image{Release: release, Vmlinuz: vmlinuz, ModuleDir: modules}, nil
		}
	}
	return Image{}, fmt.Errorf("no kernel %s in the packages", release)
}

func readImage(dir string, kernel Kernel) (Image, error) {
	var image Image
	text, err := os.ReadFile(filepath.Join(dir, metaName))
	if err != nil {
		return image, err
	}
	if err := json.Unmarshal(text, &image); err != nil {
		return image, fmt.Errorf("%s: %w", dir, err)
	}
	image.root, image.arch = filepath.Join(dir, "root"), kernel.Arch()
	image.Vmlinuz = filepath.Join(image.root, image.Vmlinuz)
	image.ModuleDir = filepath.Join(image.root, image.ModuleDir)
	return image, nil
}

// CacheDir is where kernels and disks live: DMSNAP_CACHE, or a place in the user's cache.
func CacheDir() (string, error) {
	dir := os.Getenv("DMSNAP_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("set DMSNAP_CACHE: %w", err)
		}
		dir = filepath.Join(base, "dmsnap")
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// lock waits until no other run holds the file.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { file.Close() }, nil
}
