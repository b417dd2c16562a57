// Command demo is the guided tour, run inside a guest: it takes two mounted volumes under load through the life of a
// set and proves that the image stayed what it was.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

func main() {
	show := tour
	if os.Getenv("DMSNAP_ORIGIN") == "plain" {
		show = plainTour
	}
	if err := show(os.Getenv("DMSNAP_BIN"), strings.Split(os.Getenv("DMSNAP_DISKS"), ",")); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

const (
	home = "/home"
	srv  = "/srv"
)

func tour(dmsnap string, disks []string) error {
	if len(disks) < 4 {
		return fmt.Errorf("four disks are needed, not %v", disks)
	}
	// So that the commands read as users type them.
	if err := os.Symlink(dmsnap, "/usr/local/bin/dmsnap"); err != nil {
		return err
	}
	say("A logical volume with ext4 on %s and a device-mapper device with xfs on %s.", home, srv)
	err := shells(
		"vgcreate -q vg "+disks[0],
		"lvcreate -q -y -n home -L 512M vg",
		fmt.Sprintf(`dmsetup create srv --table "0 1048576 linear %s 0"`, disks[1]),
		"mkfs.ext4 -q /dev/vg/home", "mkfs.xfs -q /dev/mapper/srv",
		"mount /dev/vg/home "+home, "mount /dev/mapper/srv "+srv,
	)
	if err == nil {
		err = fill()
	}
	if err != nil {
		return err
	}
	l := startLoad(home, srv)
	err = errors.Join(backup(), life(disks), l.stop())
	return errors.Join(err, cleanUp(disks))
}

// fill writes what the image must still hold later.
func fill() error {
	for _, dir := range []string{home, srv} {
		if err := shell(fmt.Sprintf("head -c 8M /dev/urandom > %s/data; sync -f %s", dir, dir)); err != nil {
			return err
		}
	}
	return shell(fmt.Sprintf("sha256sum %s/data %s/data > /tmp/before", home, srv))
}

// life is the set's, from cut to removal.
func life(disks []string) error {
	say("The same by hand. What would a cut do here?")
	if err := shell("dmsnap doctor " + home); err != nil {
		return err
	}
	say("Cut both volumes at one instant.")
	if err := shell(fmt.Sprintf("dmsnap create %s %s --name nightly --store %s=%s --store %s=%s", home, srv, home, disks[2], srv, disks[3])); err != nil {
		return err
	}
	say("Overwrite everything on the origins.")
	err := shells(
		fmt.Sprintf("head -c 8M /dev/zero > %s/data; head -c 8M /dev/zero > %s/data; sync", home, srv),
		"dmsnap list", "dmsnap show nightly", "dmsnap mount nightly /mnt/nightly",
	)
	if err != nil {
		return err
	}
	say("The image still holds what the origins had at the cut; the origins do not.")
	if err := proof(); err != nil {
		return err
	}
	say("Take it down. The origins get their own tables back.")
	return shells("dmsnap umount nightly", "dmsnap remove nightly", "dmsetup table")
}

func proof() error {
	if err := shell("cd /mnt/nightly; sed 's| /| |' /tmp/before | sha256sum -c"); err != nil {
		return err
	}
	if err := exec.Command("sha256sum", "--status", "-c", "/tmp/before").Run(); err == nil {
		return errors.New("the origins were not overwritten: the demo proves nothing")
	}
	return nil
}

func cleanUp(disks []string) error {
	say("Nothing of dmsnap is left, and the filesystems are sound.")
	return shells(
		"umount "+home+" "+srv, "e2fsck -fn /dev/vg/home", "xfs_repair -n /dev/mapper/srv >/dev/null 2>&1 && echo xfs is clean",
		"dmsetup remove srv", "vgremove -q -f vg", "pvremove -q "+disks[0],
	)
}

func say(format string, args ...any) { fmt.Printf("\n# "+format+"\n", args...) }

// shell shows a command and runs it.
func shell(line string) error {
	fmt.Println("$ " + line)
	c := exec.Command("sh", "-c", line)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	return nil
}

// shells shows commands and runs them, to the first that fails.
func shells(lines ...string) error {
	for _, line := range lines {
		if err := shell(line); err != nil {
			return err
		}
	}
	return nil
}

// load keeps filesystems busy: files written, synced and removed, over and over.
type load struct {
	done   atomic.Bool
	wait   sync.WaitGroup
	errs   []error
	rounds atomic.Int64
}

func startLoad(dirs ...string) *load {
	l := &load{errs: make([]error, len(dirs))}
	for i, dir := range dirs {
		l.wait.Go(func() { l.errs[i] = l.run(dir) })
	}
	return l
}

func (l *load) run(dir string) error {
	block := make([]byte, 256<<10)
	for n := 0; !l.done.Load(); n++ {
		name := filepath.Join(dir, fmt.Sprintf("load%d", n%8))
		if err := os.WriteFile(name, block, 0o600); err != nil {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
		l.rounds.Add(1)
	}
	return nil
}

func (l *load) stop() error {
	l.done.Store(true)
	l.wait.Wait()
	fmt.Printf("\n(the writers wrote %d files meanwhile, without an error)\n", l.rounds.Load())
	return errors.Join(l.errs...)
}
