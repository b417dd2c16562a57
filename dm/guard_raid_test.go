package dm

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/lab"
	"github.com/dmsnap/dmsnap/e2e/leak"
)

// TestGuardHandsBack ends windows of a raid: wherever the tool dies or stands
// still, one table of the raid runs, and nothing is copied again.
func TestGuardHandsBack(t *testing.T) {
	lab.Wide(t)
	v := newGuardedRaid(t)
	whole := string(output(t, "dmsetup", "status", "guarded"))
	// freeze, prove, suspend, resume base, resume image, resume front, thaw
	steps := []int{4, 5, 7}
	if lab.Full() {
		steps = []int{1, 2, 3, 4, 5, 6, 7}
	}
	for _, step := range steps {
		for what, do := range map[string]func(*testing.T, int){"killed": v.killed, "stopped": v.stopped} {
			t.Run(fmt.Sprintf("%s before step %d", what, step), func(t *testing.T) {
				do(t, step)
				if now := string(output(t, "dmsetup", "status", "guarded")); now != whole {
					t.Errorf("the raid was %s, and is %s", whole, now)
				}
			})
		}
	}
}

func newGuardedRaid(t *testing.T) guarded {
	t.Helper()
	if os.Getenv("DMSNAP_E2E") == "" {
		t.Skip("needs a guest: run by e2e")
	}
	leak.Check(t)
	disks := strings.Split(os.Getenv("DMSNAP_DISKS"), ",")
	table := "0 131072 raid raid1 3 0 region_size 1024 2"
	for i, disk := range disks[:2] {
		for _, part := range []struct {
			name        string
			start, size int
		}{{"meta", 0, 8192}, {"data", 8192, 131072}} {
			name := fmt.Sprint(part.name, i)
			output(t, "dmsetup", "create", name, "--table", fmt.Sprintf("0 %d linear %s %d", part.size, disk, part.start))
			t.Cleanup(func() { output(t, "dmsetup", "remove", "--retry", name) })
			table += " /dev/mapper/" + name
		}
		output(t, "dd", "if=/dev/zero", "of="+fmt.Sprint("/dev/mapper/meta", i), "bs=1M", "count=4", "conv=fsync", "status=none")
	}
	output(t, "dmsetup", "create", "guarded", "--table", table)
	t.Cleanup(func() { output(t, "dmsetup", "remove", "--retry", "guarded") })
	for end := time.Now().Add(time.Minute); !strings.Contains(string(output(t, "dmsetup", "status", "guarded")), " AA 131072/131072 idle "); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in sync: %s", output(t, "dmsetup", "status", "guarded"))
		}
	}
	return guardedOn(t, disks[2])
}
