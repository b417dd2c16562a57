package scenarios

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

const quickStarts = "../../docs/quickstart.md"

// TestQuickStart does what docs/quickstart.md and the README say, as it stands: each situation's volumes are made, its commands run,
// and the backup they made is looked into.
func TestQuickStart(t *testing.T) {
	for _, c := range []struct {
		page    string
		title   string
		prepare func(t *testing.T, disks []string) map[string]string // mount points to devices
		backup  string
		holds   []string
	}{
		{"../../README.md", "Quick start", func(t *testing.T, disks []string) map[string]string {
			lab.Group(t, "vg", disks[0])
			return map[string]string{
				"/home": lab.LogicalVolume(t, "vg", "home", "-L", "400M"),
				"/var":  lab.LogicalVolume(t, "vg", "var", "-L", "400M"),
			}
		}, "", nil},
		{quickStarts, "LVM", func(t *testing.T, disks []string) map[string]string {
			lab.Group(t, "vg", disks[0])
			return map[string]string{"/home": lab.LogicalVolume(t, "vg", "home", "-L", "400M")}
		}, "home.tar", []string{"./precious"}},
		{quickStarts, "LUKS", func(t *testing.T, disks []string) map[string]string {
			return map[string]string{"/srv": keyringLUKS(t, lab.Linear(t, "part", disks[0], 0, 416), "srv", "/etc/srv.key")}
		}, "srv.tar", []string{"./precious"}},
		{quickStarts, "A plain partition, the root too", func(t *testing.T, disks []string) map[string]string {
			lab.LoadModule(t)
			return map[string]string{"/data": lab.Partition(t, disks[0], 1, 1, 400)}
		}, "data.tar", []string{"./precious"}},
		{quickStarts, "A database server", func(t *testing.T, disks []string) map[string]string {
			stub(t, "/usr/local/sbin/runuser", "echo \"$*\" >>/run/tmp/checkpoint")
			shipHooks(t)
			lab.Group(t, "db", disks[0])
			return map[string]string{
				"/var/lib/pgdata": lab.LogicalVolume(t, "db", "data", "-L", "400M"),
				"/var/lib/pgwal":  lab.LogicalVolume(t, "db", "wal", "-L", "400M"),
			}
		}, "db.tar", []string{"./var/lib/pgdata/precious", "./var/lib/pgwal/precious"}},
	} {
		t.Run(c.title, func(t *testing.T) {
			lab.Long(t)
			lab.Need(t)
			for dir, dev := range c.prepare(t, lab.Disks(t, 1)) {
				mountAt(t, dev, dir)
			}
			before := targetsNow(t)
			said := follow(t, c.page, c.title)
			if after := targetsNow(t); after != before {
				t.Errorf("targets before:\n%safter:\n%s", before, after)
			}
			if !strings.Contains(said, "state        active") {
				t.Errorf("the set was not active when it was read:\n%s", said)
			}
			for _, want := range c.holds {
				if files := lab.Run(t, "tar", "-tf", filepath.Join("/backup", c.backup)); !strings.Contains(files, want+"\n") {
					t.Errorf("no %s in the backup:\n%s", want, files)
				}
			}
			if _, err := os.Stat("/run/tmp/checkpoint"); c.title == "A database server" && err != nil {
				t.Errorf("the database was not told: %v\n%s", err, said)
			}
		})
	}
}

// targetsNow are all devices with their targets. What stands behind a target may change: a page moves a key into the table.
func targetsNow(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for line := range strings.Lines(lab.Run(t, "dmsetup", "table")) {
		fields := strings.Fields(line)
		all.WriteString(strings.Join(fields[:min(4, len(fields))], " ") + "\n")
	}
	return all.String()
}

// mountAt formats a device and mounts it where the page has it.
func mountAt(t *testing.T, dev, dir string) {
	t.Helper()
	lab.Format(t, "ext4", dev)
	lab.Run(t, "mkdir", "-p", dir)
	lab.Run(t, "mount", dev, dir)
	t.Cleanup(func() { lab.Run(t, "umount", dir) })
	if err := os.WriteFile(filepath.Join(dir, "precious"), []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// keyringLUKS is opened as users do, with the key in a keyring.
func keyringLUKS(t *testing.T, dev, name, key string) string {
	t.Helper()
	if err := os.WriteFile(key, []byte("open sesame"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(key) })
	lab.Run(t, "cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", dev, key)
	lab.Run(t, "cryptsetup", "open", "--key-file", key, dev, name)
	t.Cleanup(func() { lab.Run(t, "cryptsetup", "close", name) })
	return "/dev/mapper/" + name
}

// stub is a program of the machine that is not there.
func stub(t *testing.T, path, line string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+line+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
}

// shipHooks puts the hooks where the package has them, unless it is installed, and takes away what the page installs.
func shipHooks(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/usr/share/doc/dmsnap/hooks"); err == nil {
		t.Cleanup(func() { lab.Run(t, "rm", "/etc/dmsnap/hooks.d/10-postgresql") })
		return
	}
	lab.Run(t, "mkdir", "-p", "/usr/share/doc/dmsnap")
	lab.Run(t, "cp", "-r", "../../docs/hooks", "/usr/share/doc/dmsnap/hooks")
	t.Cleanup(func() { lab.Run(t, "rm", "-r", "/usr/share/doc/dmsnap", "/etc/dmsnap") })
}

// follow runs the commands of a section, with the tool under test in place of the installed one.
func follow(t *testing.T, page, title string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## "+title+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	_, block, hasBlock := strings.Cut(section, "\n```sh\n")
	commands, _, ends := strings.Cut(block, "\n```")
	if !found || !hasBlock || !ends {
		t.Fatalf("%s has no commands for %s", page, title)
	}
	bin := t.TempDir()
	if err := os.Symlink(os.Getenv("DMSNAP_BIN"), filepath.Join(bin, "dmsnap")); err != nil {
		t.Fatal(err)
	}
	lab.Run(t, "mkdir", "-p", "/backup")
	t.Cleanup(func() { lab.Run(t, "rm", "-r", "/backup", "/var/lib/dmsnap") })
	cmd := exec.Command("sh", "-eux", "-c", commands)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}
