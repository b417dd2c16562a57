package scenarios

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// hostDirs are what is compared of a whole host: one directory of the root, and two
// filesystems of their own.
var hostDirs = []string{"/data", "/home", "/srv"}

// rings are written to, one after the other, as long as backups are made.
var rings = []string{"/data/ring", "/home/ring", "/srv/ring"}

const ringSlots = 32

// wholeHost is a live root, /home on LVM and /srv on LUKS, all of them written to.
// /backup is another filesystem.
type wholeHost struct {
	tool   *lab.Tool
	stores []string // arguments of exec
	writer *lab.Writer
}

func newWholeHost(t *testing.T) *wholeHost {
	t.Helper()
	disks := lab.Disks(t, 5)
	root := lab.NewVolume(t, "root", "ext4", disks[0], disks[1], 0, 300)
	lab.Group(t, "vg", disks[2])
	home := lab.LogicalVolume(t, "vg", "home", "-L", "300M")
	srv := lab.LUKS(t, "srv", lab.Linear(t, "part", disks[3], 0, 340), "--disable-keyring")
	homeStore, srvStore := lab.Store(t, "home-cow", disks[4], 0, 320), lab.Store(t, "srv-cow", disks[4], 320, 340)
	lab.Format(t, "ext4", home)
	lab.Format(t, "xfs", srv)
	h := &wholeHost{tool: lab.EnterRoot(t, root.Dir), stores: []string{"--store", "/=" + root.Store, "--store", "/home=" + homeStore, "--store", "/srv=" + srvStore}}
	lab.Run(t, "mkdir", "-p", "/data", "/srv", "/backup")
	for _, m := range [][]string{{home, "/home"}, {srv, "/srv"}, {"-t", "tmpfs", "backup", "/backup"}} {
		lab.Run(t, "mount", m...)
		t.Cleanup(func() { lab.Run(t, "umount", m[len(m)-1]) })
	}
	for _, dir := range hostDirs {
		tree(t, dir)
	}
	h.writer = lab.StartWriter(t, ringSlots, rings...)
	h.writer.WaitFor(t, ringSlots)
	return h
}

// backUp runs a script that sees the images, and returns what it printed. It has
// compare, which prints what a copy of all directories below another one has that
// the images have not.
func (h *wholeHost) backUp(t *testing.T, script, copied string) string {
	t.Helper()
	script = "set -e\ncompare() { for dir in " + strings.Join(hostDirs, " ") + "; do rsync -aHxnic --delete $dir/ " + copied + "$dir/; done; }\n" + script
	out := h.tool.OK(slices.Concat([]string{"exec", "/", "/home", "/srv", "--json-file", "/backup/verdict"}, h.stores, []string{"--", "sh", "-c", script})...)
	h.writer.WaitFor(t, ringSlots)
	h.sameInstant(t, copied)
	return out
}

// sameInstant expects all rings of a copy to be those of the instant that the verdict
// tells.
func (h *wholeHost) sameInstant(t *testing.T, copied string) {
	t.Helper()
	var verdict struct {
		Executions []struct {
			Execution struct {
				Good bool
				Set  lab.Set
			}
		}
	}
	text := readText(t, "/backup/verdict")
	if err := json.Unmarshal([]byte(text), &verdict); err != nil || len(verdict.Executions) != 1 || !verdict.Executions[0].Execution.Good {
		t.Fatalf("%v\n%s", err, text)
	}
	receipt := verdict.Executions[0].Execution.Set.Receipt
	before := ^uint64(0)
	for _, ring := range rings {
		n := lab.Check(t, copied+ring, ringSlots)
		h.writer.Expect(t, copied+ring, receipt, n)
		if before != ^uint64(0) && n != before && n+1 != before {
			t.Errorf("%s has %d records, the one written before it %d", ring, n, before)
		}
		before = n
	}
	h.writer.Forget()
}

// TestExecHostRestic: a whole host twice, under load. What is restored is the image,
// and the second backup reads nothing but what was written meanwhile.
func TestExecHostRestic(t *testing.T) {
	lab.Need(t)
	lab.Long(t)
	backupPrograms(t)
	h := newWholeHost(t)
	for name, value := range map[string]string{"RESTIC_PASSWORD": "secret", "RESTIC_REPOSITORY": "/backup/restic", "RESTIC_CACHE_DIR": "/backup/cache", "TMPDIR": "/tmp"} {
		t.Setenv(name, value)
	}
	lab.Run(t, "restic", "init")
	var all [2]resticSummary
	for round := range all {
		out := h.backUp(t, `
			restic backup --json --one-file-system --exclude /var/lib/dmsnap / /home /srv | grep '"summary"'
			rm -rf /backup/copy
			restic restore latest --target /backup/copy >/dev/null
			compare`, "/backup/copy")
		line, differs, _ := strings.Cut(out, "\n")
		if err := json.Unmarshal([]byte(line), &all[round]); err != nil || differs != "" {
			t.Errorf("%v, the copy differs from the image:\n%s", err, out)
		}
	}
	first, second := all[0], all[1]
	t.Logf("first %+v, second %+v", first, second)
	if first.New < 3*65 || second.New != 0 || second.Changed > len(rings) || second.Same < first.New-len(rings) || second.Added >= 1<<20 {
		t.Errorf("first %+v, second %+v", first, second)
	}
}

// TestExecHostBorg: the same with borg, which prints whatever it had to look into.
func TestExecHostBorg(t *testing.T) {
	lab.Need(t)
	lab.Long(t)
	backupPrograms(t)
	h := newWholeHost(t)
	for name, value := range map[string]string{"BORG_BASE_DIR": "/backup/base", "BORG_REPO": "/backup/borg", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "TMPDIR": "/tmp"} {
		t.Setenv(name, value)
	}
	lab.Run(t, "borg", "init", "-e", "none")
	for round := range 2 {
		out := h.backUp(t, `
			borg create --one-file-system --list --filter AMCE --exclude /var/lib/dmsnap ::{set} / /home /srv 2>/backup/list
			rm -rf /backup/copy; mkdir /backup/copy; cd /backup/copy
			borg extract ::{set}
			compare`, "/backup/copy")
		if out != "" {
			t.Errorf("the copy differs from the image:\n%s", out)
		}
		if round == 0 {
			continue
		}
		for line := range strings.Lines(readText(t, "/backup/list")) {
			mark, path, _ := strings.Cut(strings.TrimSpace(line), " ")
			if len(mark) == 1 && !slices.Contains(rings, "/"+path) {
				t.Errorf("read again: %s", line)
			}
		}
	}
}

// TestExecHostRsync: a copy that the second run has only the rings to send to.
func TestExecHostRsync(t *testing.T) {
	lab.Need(t)
	lab.Long(t)
	backupPrograms(t)
	h := newWholeHost(t)
	if err := os.Mkdir("/backup/copy", 0o700); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		out := h.backUp(t, `
			rsync -aHxR --delete --exclude /var/lib/dmsnap --exclude /data --exclude /home --exclude /srv / /backup/copy
			rsync -aHxR --delete --out-format=%n `+strings.Join(hostDirs, " ")+` /backup/copy | grep -v '/$' || true
			echo --
			compare`, "/backup/copy")
		sent, differs, _ := strings.Cut(out, "--\n")
		if differs != "" {
			t.Errorf("the copy differs from the image:\n%s", differs)
		}
		for name := range strings.Lines(sent) {
			if round > 0 && !slices.Contains(rings, "/"+strings.TrimSpace(name)) {
				t.Errorf("sent again: %s", name)
			}
		}
	}
}
