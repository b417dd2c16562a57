package vm

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// testPrograms are what tests use besides a userland.
var testPrograms = []string{"fio", "thin-provisioning-tools", "xfsprogs"}

// unpackPrograms unpacks packages into a root and runs nothing of them: the host could not.
const unpackPrograms = `set -e
mkdir -p "$1/usr/bin" "$1/usr/sbin" "$1/usr/lib"
for d in bin sbin lib; do ln -s usr/$d "$1/$d"; done
for deb in "$2"/*.deb; do
	dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$1"
done
`

// Programs is a directory with the programs of a Debian for a kernel whose processor is not the host's, and "" for another. A guest
// sees the host's files behind them: scripts and configuration are the same for all.
func Programs(ctx context.Context, kernel Kernel) (string, error) {
	if !kernel.Foreign() {
		return "", nil
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	root := filepath.Join(cache, "programs", kernel.Arch())
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(root + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(root); !errors.Is(err, fs.ErrNotExist) {
		return root, err
	}
	partial := root + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return "", err
	}
	a, err := newApt(ctx, root+".apt", []string{kernel.Arch()}, strings.TrimSuffix(kernel.Suite, "-backports"))
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(a.dir)
	if _, err := a.get(ctx, "update"); err != nil {
		return "", err
	}
	install := slices.Concat([]string{"-y", "--no-install-recommends", "--download-only", "install"}, userlandPackages, testPrograms)
	if _, err := a.get(ctx, install...); err != nil {
		return "", err
	}
	if _, err := output(ctx, "sh", "-c", unpackPrograms, "sh", partial, filepath.Join(a.dir, "cache", "archives")); err != nil {
		return "", err
	}
	return root, os.Rename(partial, root)
}
