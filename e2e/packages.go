package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// debianPackages are what the harness, and the tests in its guests, use of the host.
var debianPackages = []string{
	"qemu-system-x86", "seabios", "kmod", "cpio", "xz-utils", "udev", "dmsetup", "lvm2", "cryptsetup-bin", "e2fsprogs",
	"xfsprogs", "btrfs-progs", "dosfstools", "f2fs-tools", "fio", "util-linux", "thin-provisioning-tools", "procps",
	"gcc", "libc6-dev", "debian-archive-keyring", "groff-base", "mandoc", "zsh", "fish", "ansible-core",
	"rpm", "openssh-client", "python3-apt",
}

// serverPackages are the database servers that hooks are tested against, and backup programs. Guests unpack them; the host does not get them.
var serverPackages = []string{"postgresql-15", "mariadb-server-core", "mariadb-client-core", "restic", "borgbackup", "rsync", "borgmatic", "rclone"}

// installPackages makes the missing ones present, and more, when it may.
func installPackages(ctx context.Context, more ...string) error {
	missing, err := missingPackages(ctx, slices.Concat(debianPackages, more))
	if err != nil || len(missing) == 0 {
		return err
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("not root and these are missing, install them: apt-get install --no-install-recommends %s", strings.Join(missing, " "))
	}
	fmt.Println("installing", strings.Join(missing, " "))
	if err := runQuiet(ctx, nil, "apt-get", "-q", "update"); err != nil {
		return err
	}
	args := []string{"-q", "-y", "-o", "DPkg::Lock::Timeout=120", "--no-install-recommends", "install"}
	return runQuiet(ctx, []string{"DEBIAN_FRONTEND=noninteractive"}, "apt-get", append(args, missing...)...)
}

func missingPackages(ctx context.Context, wanted []string) ([]string, error) {
	args := append([]string{"-W", "-f", "${Package} ${db:Status-Status}\n"}, wanted...)
	text, err := exec.CommandContext(ctx, "dpkg-query", args...).Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) { // it also complains of packages it never heard of
		return nil, fmt.Errorf("the harness needs a Debian host: %w", err)
	}
	installed := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if name, found := strings.CutSuffix(strings.TrimSpace(line), " installed"); found {
			installed[name] = true
		}
	}
	var missing []string
	for _, name := range wanted {
		if !installed[name] {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// runQuiet runs a program and shows what it said only if it fails.
func runQuiet(ctx context.Context, env []string, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), env...)
	text, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, strings.TrimSpace(string(text)))
	}
	return nil
}
