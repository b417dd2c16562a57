package scenarios

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// backupPrograms unpacks Debian's restic, borg and rsync into the guest's own root, which is gone with the guest.
func backupPrograms(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("rclone"); err == nil {
		return
	}
	lab.Run(t, "sh", "-ec", `
		for deb in $0; do
			dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C /
		done
		ldconfig`, os.Getenv("DMSNAP_DEBS"))
}

// volumeOfFiles is a volume with a tree.
func volumeOfFiles(t *testing.T, fstype string, mib int) lab.Volume {
	t.Helper()
	disks := lab.Disks(t, 2)
	v := lab.NewVolume(t, "home", fstype, disks[0], disks[1], 0, mib)
	tree(t, v.Dir)
	return v
}

// tree makes files of many sizes, and of every other kind.
func tree(t *testing.T, dir string) {
	t.Helper()
	lab.Run(t, "sh", "-ec", `
		cd "$0"
		for d in a b c d; do
			mkdir -p $d/sub
			for n in 1 2 3 4 5 6 7 8; do head -c $((n * 9000)) /dev/urandom > $d/sub/$n; ln $d/sub/$n $d/$n; done
		done
		ln -s a/1 link; mkfifo pipe; touch empty`, dir)
}

// resticSummary is what restic tells of a backup.
type resticSummary struct {
	Type     string `json:"message_type"`
	New      int    `json:"files_new"`
	Changed  int    `json:"files_changed"`
	Same     int    `json:"files_unmodified"`
	DirsNew  int    `json:"dirs_new"`
	DirsDiff int    `json:"dirs_changed"`
	Added    int    `json:"data_added"`
}

// TestExecRestic: the second backup of a tree that has not changed reads no file and
// stores nothing anew, since its device number is that of the first.
func TestExecRestic(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	backupPrograms(t)
	tool, v := lab.NewTool(t), volumeOfFiles(t, "ext4", 200)
	repo, cache := t.TempDir(), t.TempDir()
	t.Setenv("RESTIC_PASSWORD", "secret")
	t.Setenv("RESTIC_REPOSITORY", repo)
	t.Setenv("RESTIC_CACHE_DIR", cache)
	lab.Run(t, "restic", "init")
	backup := func() (s resticSummary) {
		out := tool.OK(execOf(v, "restic", "backup", "--json", "--one-file-system", v.Dir)...)
		for line := range strings.Lines(out) {
			if err := json.Unmarshal([]byte(line), &s); err == nil && s.Type == "summary" {
				return s
			}
		}
		t.Fatalf("no summary: %s", out)
		return s
	}
	first := backup()
	lab.Run(t, "sh", "-c", "sync; echo 3 > /proc/sys/vm/drop_caches")
	second := backup()
	t.Logf("first %+v, second %+v", first, second)
	if first.New < 65 || second.New+second.Changed != 0 || second.Same != first.New || second.Added >= 1<<20 {
		t.Errorf("first %+v, second %+v", first, second)
	}
	if second.DirsNew+second.DirsDiff != 0 {
		t.Logf("directories stored anew: %d new, %d changed", second.DirsNew, second.DirsDiff)
	}
	restored := t.TempDir()
	lab.Run(t, "restic", "restore", "latest", "--target", restored)
	lab.Run(t, "diff", "-r", "--no-dereference", "--exclude=pipe", v.Dir, filepath.Join(restored, v.Dir))
}

// TestExecBorg: borg's cache of files holds from one image to the next. It never
// remembers the newest files of a backup.
func TestExecBorg(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	backupPrograms(t)
	tool, v := lab.NewTool(t), volumeOfFiles(t, "xfs", 310)
	newest := filepath.Join(v.Dir, "newest")
	if err := os.WriteFile(newest, []byte("newest"), 0o600); err != nil {
		t.Fatal(err)
	}
	lab.Run(t, "touch", "-d", "+1 hour", newest)
	t.Setenv("BORG_BASE_DIR", t.TempDir())
	t.Setenv("BORG_REPO", t.TempDir())
	t.Setenv("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
	lab.Run(t, "borg", "init", "-e", "none")
	backup := func(name string) string {
		_, said, code := tool.Try(execOf(v, "borg", "create", "--one-file-system", "--list", "--filter", "AMCE", "::"+name, v.Dir)...)
		if code != 0 {
			t.Fatalf("exit %d: %s", code, said)
		}
		return said
	}
	backup("first")
	said := backup("second")
	t.Logf("second: %s", said)
	for line := range strings.Lines(said) {
		if mark, path, _ := strings.Cut(strings.TrimSpace(line), " "); len(mark) == 1 && filepath.Join("/", path) != newest {
			t.Errorf("read again: %s", line)
		}
	}
}

// TestExecRsync: a copy at the original paths, twice; the second transfers nothing.
func TestExecRsync(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	backupPrograms(t)
	tool, v := lab.NewTool(t), volumeOfFiles(t, "ext4", 200)
	copied := t.TempDir()
	for round := range 2 {
		out := tool.OK(execOf(v, "rsync", "-aHx", "--stats", v.Dir+"/", copied+"/")...)
		_, rest, _ := strings.Cut(out, "Number of regular files transferred: ")
		got, _, _ := strings.Cut(rest, "\n")
		if (got == "0") != (round == 1) {
			t.Errorf("round %d transferred %q files\n%s", round, got, out)
		}
	}
	lab.Run(t, "diff", "-r", "--no-dereference", "--exclude=pipe", "--exclude=lost+found", v.Dir, copied)
}
