package powercut

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

const (
	slots    = 64
	origin   = "/dev/mapper/origin"
	mnt      = "/mnt/origin"
	stateMnt = "/mnt/state"
)

// inGuest is for what the machine does: it has three disks of its own.
func inGuest(t *testing.T) {
	t.Helper()
	if os.Getenv("DMSNAP_POWER") == "" {
		t.Skip("host only: the test of the power cuts runs this in its machines")
	}
	lab.Run(t, "sh", "-ec", `dmsetup create origin --table "0 $(blockdev --getsz /dev/vda) linear /dev/vda 0"; mkdir -p /mnt/origin /mnt/state`)
}

func mounted(t *testing.T) *lab.Tool {
	t.Helper()
	lab.Run(t, "mount", origin, mnt)
	lab.Run(t, "mount", "/dev/vdc", stateMnt)
	tool := lab.NewTool(t)
	tool.State = filepath.Join(stateMnt, "dmsnap")
	return tool
}

func unmounted(t *testing.T) {
	t.Helper()
	lab.Run(t, "umount", mnt, stateMnt)
	lab.Run(t, "udevadm", "settle")
	lab.Run(t, "e2fsck", "-fn", origin)
	lab.Run(t, "dmsetup", "remove", "--retry", "origin")
}

// TestGuestFormat is the first boot.
func TestGuestFormat(t *testing.T) {
	inGuest(t)
	lab.Format(t, "ext4", origin)
	lab.Format(t, "ext4", "/dev/vdc")
	mounted(t)
	unmounted(t)
}

// TestGuestWork goes on until there is no power any more.
func TestGuestWork(t *testing.T) {
	inGuest(t)
	tool := mounted(t)
	w := lab.StartWriter(t, slots, filepath.Join(mnt, "ring"))
	go func() {
		for last := uint64(0); ; time.Sleep(5 * time.Millisecond) {
			if acked, _ := w.Bounds(time.Now(), time.Now()); acked > last {
				last = acked
				fmt.Println("acked", acked)
			}
		}
	}()
	w.WaitFor(t, 1)
	for i := 0; ; i++ {
		create := []string{"create", origin, "--name", "cut", "--store", "/dev/vdb", "--size", "8m"}
		if i%2 == 0 {
			create = append(create, "--persistent")
		}
		fmt.Println("doing create")
		tool.OK(create...)
		fmt.Println("doing extend")
		tool.OK("extend", "cut", "+4m")
		fmt.Println("doing remove")
		tool.OK("remove", "cut")
	}
}

// TestGuestCheck is the next boot.
func TestGuestCheck(t *testing.T) {
	inGuest(t)
	tool := mounted(t)
	before := lab.Run(t, "dmsetup", "table")
	ended := endedSets(t, tool)
	var out struct {
		Sets []struct {
			Name, State string
			Persistent  bool
		}
	}
	if err := json.Unmarshal([]byte(tool.OK("list", "--json")), &out); err != nil {
		t.Fatal(err)
	}
	for _, set := range out.Sets { // complete before the cut: what was in the kernel is lost
		if used, told := ended[set.Name]; set.State != "broken" || told != set.Persistent || told && used == 0 {
			t.Errorf("%s is %s; of its store %v is told, %d bytes: %v", set.Name, set.State, told, used, set.Persistent)
		}
		tool.OK("remove", set.Name)
	}
	lab.Run(t, "wipefs", "-qa", "/dev/vdb") // the store of a persistent set has its header
	for _, sub := range []string{"journal", "sets"} {
		if left, err := os.ReadDir(filepath.Join(tool.State, sub)); err == nil && len(left) > 0 {
			t.Errorf("left in %s: %v", sub, left)
		}
	}
	if acked, err := strconv.ParseUint(os.Getenv("DMSNAP_ACKED"), 10, 64); err != nil {
		t.Error(err)
	} else if newest := lab.Check(t, filepath.Join(mnt, "ring"), slots); newest < acked {
		t.Errorf("%d writes were acknowledged, %d are there", acked, newest)
	}
	if after := lab.Run(t, "dmsetup", "table"); after != before {
		t.Errorf("tables before:\n%safter:\n%s", before, after)
	}
	unmounted(t)
}

// endedSets is what recover found on the stores of persistent sets: the bytes in use, by set.
func endedSets(t *testing.T, tool *lab.Tool) map[string]uint64 {
	t.Helper()
	var out struct {
		Recoveries []struct {
			Ended []struct {
				Set       string
				Valid     bool
				UsedBytes uint64 `json:"used_bytes"`
			}
		}
	}
	if err := json.Unmarshal([]byte(tool.OK("recover", "--json")), &out); err != nil {
		t.Fatal(err)
	}
	used := map[string]uint64{}
	for _, e := range out.Recoveries[0].Ended {
		used[e.Set] = e.UsedBytes
		fmt.Printf("ended: %+v\n", e)
		if !e.Valid {
			t.Errorf("the store of %s: %+v", e.Set, e)
		}
	}
	return used
}
