package leak

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestEachLeakIsNamed leaves every kind of thing behind on purpose, then removes it.
func TestEachLeakIsNamed(t *testing.T) {
	if os.Getenv("DMSNAP_E2E") == "" {
		t.Skip("needs a guest: run by e2e")
	}
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, leave, remove, want string }{
		{"dm device", "dmsetup create leaked --notable", "dmsetup remove leaked", "dm device leaked (without a table)"},
		{"node", "dmsetup create leaked --table '0 8 error'", "dmsetup remove leaked", "node /dev/mapper/leaked"},
		{
			"suspended", "dmsetup create leaked --table '0 8 error' && dmsetup suspend leaked",
			"dmsetup resume leaked && dmsetup remove leaked", "dm device leaked (suspended)",
		},
		{"loop", "losetup /dev/loop5 " + file, "losetup -d /dev/loop5", "loop device loop5 on " + file},
		{"mount", "mount -t tmpfs leaked /mnt", "umount /mnt", "mount /mnt (tmpfs leaked)"},
		{"semaphore", "dmsetup udevcreatecookie", "dmsetup udevcomplete_all --yes", "semaphore key "},
		{"process", "exec setsid sleep 987 >/dev/null 2>&1 &", "pkill -x sleep", "(sleep, started"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, err := Take()
			if err != nil {
				t.Fatal(err)
			}
			shell(t, c.leave)
			after, err := takeSettled()
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(Diff(before, after), "\n"); !strings.Contains(got, c.want) {
				t.Errorf("%q is not in %q", c.want, got)
			}
			shell(t, c.remove)
			for _, line := range Wait(before, 5*time.Second) {
				t.Error(line)
			}
		})
	}
}

func TestFrozenIsFoundAndThawed(t *testing.T) {
	if os.Getenv("DMSNAP_E2E") == "" {
		t.Skip("needs a guest: run by e2e")
	}
	Check(t)
	disk, _, _ := strings.Cut(os.Getenv("DMSNAP_DISKS"), ",")
	shell(t, "mkfs.ext4 -q "+disk+" 64m && mount "+disk+" /mnt")
	t.Cleanup(func() { shell(t, "umount /mnt") })
	if lines := ThawAll(); len(lines) > 0 {
		t.Errorf("before the freeze: %q", lines)
	}
	shell(t, "fsfreeze --freeze /mnt")
	if got := strings.Join(ThawAll(), "\n"); got != "left behind: frozen file system /mnt" {
		t.Errorf("got %q", got)
	}
	shell(t, "touch /mnt/file")
}

func shell(t *testing.T, line string) {
	t.Helper()
	if text, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, text)
	}
}
