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
	"strings"
)

// userlandPackages are a small Debian with systemd, device-mapper and what belongs to it. usr-is-merged stands for a package
// that would bring perl.
var userlandPackages = []string{
	"?essential", "usr-is-merged", "systemd-sysv", "udev", "kmod", "mount", "util-linux", "procps", "dmsetup", "lvm2", "cryptsetup-bin",
	"e2fsprogs",
}

const userlandSize = 2 << 30 // sparse

// Userland is the image of an ext4 filesystem with a Debian of its own, of the first kernel's suite, in which systemd is
// process 1: for Options.Root, of a copy. It is made once, of packages, and needs root: their scripts run in a root of theirs.
func Userland(ctx context.Context) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(unpackUserland + finishUserland + strings.Join(userlandPackages, " ")))
	dir := filepath.Join(cache, "userland")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	image := filepath.Join(dir, hex.EncodeToString(sum[:8])+".ext4")
	if _, err := os.Stat(image); !errors.Is(err, fs.ErrNotExist) {
		return image, err
	}
	if err := makeUserland(ctx, filepath.Join(dir, "partial"), image); err != nil {
		return "", fmt.Errorf("make a userland: %w", err)
	}
	return image, nil
}

// unpackUserland unpacks packages into a root: all at once first, since each one's script may need any other's programs.
const unpackUserland = `set -e
mkdir -p "$1/usr/bin" "$1/usr/sbin" "$1/usr/lib" "$1/usr/lib64" "$1/debs"
for d in bin sbin lib lib64; do ln -s usr/$d "$1/$d"; done
for deb in "$2"/*.deb; do
	dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$1"
	ln "$deb" "$1/debs"
done
printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d"
chmod +x "$1/usr/sbin/policy-rc.d"
mount --bind /dev "$1/dev"
mount -t proc proc "$1/proc"
chroot "$1" sh -c 'dpkg --force-depends --force-unsafe-io --install /debs/*.deb && dpkg --configure -a'
`

// finishUserland makes it a machine that was set up: it asks nothing, and starts nothing that a test does not need.
const finishUserland = `set -e
cd "$1"
rm -r debs usr/sbin/policy-rc.d
echo 6d6d736e61704e2ee5be2e6d61636869 >etc/machine-id
echo guest >etc/hostname
: >etc/fstab
for unit in getty@tty1 serial-getty@ttyS0 e2scrub_reap systemd-firstboot; do ln -s /dev/null "etc/systemd/system/$unit.service"; done
mkdir -p host srv
`

func makeUserland(ctx context.Context, partial, image string) error {
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	a, err := newApt(ctx, filepath.Join(partial, "apt"), []string{Kernels[0].Arch()}, Kernels[0].Suite)
	if err != nil {
		return err
	}
	defer os.RemoveAll(partial)
	if _, err := a.get(ctx, "update"); err != nil {
		return err
	}
	install := append([]string{"-y", "--no-install-recommends", "--download-only", "install"}, userlandPackages...)
	if _, err := a.get(ctx, install...); err != nil {
		return err
	}
	root := filepath.Join(partial, "root")
	clean := command{env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}}
	archives := filepath.Join(a.dir, "cache", "archives")
	if _, err := clean.output(ctx, "unshare", "--mount", "--pid", "--fork", "sh", "-c", unpackUserland, "sh", root, archives); err != nil {
		return err
	}
	if _, err := clean.output(ctx, "sh", "-c", finishUserland, "sh", root); err != nil {
		return err
	}
	made := filepath.Join(partial, "image")
	if _, err := clean.output(ctx, "mke2fs", "-q", "-t", "ext4", "-L", "userland", "-d", root, made, fmt.Sprint(userlandSize>>10, "k")); err != nil {
		return err
	}
	return os.Rename(made, image)
}
