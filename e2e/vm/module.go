package vm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

const (
	moduleDir  = "kernel"
	moduleName = "dm-interpose.ko"
)

// buildPackages are what the kernel's headers do not depend on and their makefiles use: packages that every Debian has.
var buildPackages = []string{
	"make", "bash", "coreutils", "dash", "sed", "grep", "mawk", "findutils", "diffutils", "base-files",
}

// crossCompilers are the packages for processors that are not the host's.
var crossCompilers = map[string]string{arm64: "gcc-aarch64-linux-gnu"}

// Module compiles kernel/ of the working directory for a kernel, unless it has been for the same sources, and returns the
// file to load.
func Module(ctx context.Context, kernel Kernel) (string, error) {
	image, err := Fetch(ctx, kernel)
	if err != nil {
		return "", err
	}
	sources, sum, err := moduleSources()
	if err != nil {
		return "", err
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "modules", image.Release)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	target := filepath.Join(dir, sum, moduleName)
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		return target, err
	}
	root, err := buildRoot(ctx, kernel, image)
	if err != nil {
		return "", fmt.Errorf("compiler and headers for kernel %s: %w", image.Release, err)
	}
	if err := compileModule(ctx, root, image, sources, target); err != nil {
		return "", fmt.Errorf("compile %s for kernel %s: %w", moduleName, image.Release, err)
	}
	return target, nil
}

// moduleSources reads the module's files and sums them up.
func moduleSources() (map[string][]byte, string, error) {
	entries, err := os.ReadDir(moduleDir)
	if err != nil {
		return nil, "", err
	}
	sources, sum := map[string][]byte{}, sha256.New()
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(moduleDir, e.Name()))
		if err != nil {
			return nil, "", err
		}
		sources[e.Name()] = text
		fmt.Fprintf(sum, "%s %d\n%s", e.Name(), len(text), text)
	}
	return sources, hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

// buildRoot is a directory with the kernel's headers and the compiler of its suite. Newer kernels are compiled by tools
// that do not run on an older host, so they run in a root of their own.
func buildRoot(ctx context.Context, kernel Kernel, image Image) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	root := filepath.Join(cache, "build", image.Release)
	if _, err := os.Stat(root); !errors.Is(err, fs.ErrNotExist) {
		return root, err
	}
	partial := root + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return "", err
	}
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return "", err
	}
	if err := unpackBuildRoot(ctx, kernel, partial, image.Release); err != nil {
		return "", err
	}
	return root, os.Rename(partial, root)
}

func unpackBuildRoot(ctx context.Context, kernel Kernel, root, release string) error {
	a, err := newApt(ctx, root+".apt", []string{runtime.GOARCH, kernel.Arch()}, kernel.Suite, strings.TrimSuffix(kernel.Suite, "-backports"))
	if err != nil {
		return err
	}
	defer os.RemoveAll(a.dir)
	if _, err := a.get(ctx, "update"); err != nil {
		return err
	}
	headers := "linux-headers-" + release
	compiler := []string{headers}
	if kernel.Foreign() {
		// They depend on a compiler that runs where they are for.
		if _, err := a.download(ctx, []string{headers + ":" + kernel.Arch()}); err != nil {
			return err
		}
		base := strings.TrimSuffix(release, "-"+kernel.Flavour)
		compiler = []string{"linux-headers-" + base + "-common", "linux-kbuild-" + base, crossCompilers[kernel.Arch()]}
	}
	wanted := slices.Concat([]string{"-y", "--no-install-recommends", "--download-only", "install"}, compiler, buildPackages)
	if _, err := a.get(ctx, wanted...); err != nil {
		return fmt.Errorf("%w\n(the mirror may have newer headers only: then remove the cached kernel)", err)
	}
	var archives []string
	for _, pattern := range []string{"*.deb", "cache/archives/*.deb"} {
		found, err := filepath.Glob(filepath.Join(a.dir, pattern))
		if err != nil {
			return err
		}
		archives = append(archives, found...)
	}
	for _, archive := range archives {
		if strings.HasPrefix(filepath.Base(archive), "linux-image-") {
			continue // some headers depend on their kernel
		}
		if _, err := output(ctx, "dpkg-deb", "-x", archive, root); err != nil {
			return err
		}
	}
	// A script of the package would choose the awk.
	return os.Symlink("mawk", filepath.Join(root, "usr/bin/awk"))
}

// inRoot runs make in the build root, without type information for BPF: that needs the kernel it is for. No privilege is
// needed where users may have namespaces.
const inRoot = `set -e
touch "$1/dev/null"
mount --bind /dev/null "$1/dev/null"
mount --rbind /proc "$1/proc"
exec chroot "$1" make -s -C "$2" M="$3" KCFLAGS=-Werror PAHOLE=true CONFIG_DEBUG_INFO_BTF_MODULES= modules`

// compileModule copies the sources into the root, builds there, and takes the module out.
func compileModule(ctx context.Context, root string, image Image, sources map[string][]byte, target string) error {
	const inside = "/module"
	work := filepath.Join(root, inside)
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	for name, text := range sources {
		if err := os.WriteFile(filepath.Join(work, name), text, 0o644); err != nil {
			return err
		}
	}
	headers := "/usr/src/linux-headers-" + image.Release
	clean := command{env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "MAKEFLAGS="}}
	if _, err := clean.output(ctx, "unshare", "--map-root-user", "--mount", "sh", "-c", inRoot, "sh", root, headers, inside); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return os.Rename(filepath.Join(work, moduleName), target)
}
