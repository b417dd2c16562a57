// Package newroot makes a mounted filesystem the root of a whole guest, as on a machine that booted from it.
package newroot

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// old is where the root of before is meanwhile.
const old = "/old"

// shared are the directories of the old root that the new one takes in; /usr holds the programs.
var shared = []string{"dev", "proc", "sys", "run", "usr"}

// Enter makes the filesystem that is mounted on dir the root of every process that has the present one, the first process,
// udevd and the kernel's threads included. It gets a configuration, state and temporary files of its own, and programs named
// so. Leave makes it an ordinary mount again.
func Enter(dir string, programs map[string]string) (leave func() error, err error) {
	run := func(line string) error { return shell("cd " + dir + " && " + line) }
	err = run("mkdir -p " + strings.Join(shared, " ") + " ." + old + " tmp mnt root home var/lib && ln -s usr/bin usr/sbin usr/lib usr/lib64 . && cp -a /etc .")
	for name, from := range programs {
		err = errors.Join(err, run("cp "+from+" ./"+name))
	}
	if err != nil {
		return nil, err
	}
	var mounted []string
	unmount := func() (err error) {
		for _, name := range slices.Backward(mounted) {
			err = errors.Join(err, run("umount --recursive ./"+name))
		}
		return err
	}
	for _, name := range shared {
		how := "--rbind"
		if name == "run" { // dir may be below it
			how = "--bind"
		}
		if err := run("mount " + how + " /" + name + " ./" + name); err != nil {
			return nil, errors.Join(err, unmount())
		}
		mounted = append(mounted, name)
	}
	if err := unix.PivotRoot(dir, filepath.Join(dir, old)); err != nil {
		return nil, errors.Join(fmt.Errorf("make %s the root: %w", dir, err), unmount())
	}
	return func() error {
		if err := unix.PivotRoot(old, filepath.Join(old, dir)); err != nil {
			return fmt.Errorf("leave the root that was %s: %w", dir, err)
		}
		return unmount()
	}, nil
}

func shell(line string) error {
	if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, out)
	}
	return nil
}
