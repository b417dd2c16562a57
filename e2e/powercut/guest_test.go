package powercut

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// stores are parts of the second disk.
var stores = []string{"/dev/mapper/store-a", "/dev/mapper/store-b", "/dev/mapper/store-c"}

// inGuest is for what the machine does: it has three disks of its own.
func inGuest(t *testing.T) {
	t.Helper()
	if os.Getenv("DMSNAP_POWER") == "" {
		t.Skip("host only: the test of the power cuts runs this in its machines")
	}
	lab.Run(t, "sh", "-ec", `dmsetup create origin --table "0 $(blockdev --getsz /dev/vda) linear /dev/vda 0"; mkdir -p /mnt/origin /mnt/state`)
	for i, store := range stores {
		lab.Run(t, "dmsetup", "create", filepath.Base(store), "--table", fmt.Sprintf("0 65536 linear /dev/vdb %d", i*65536))
	}
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
	lab.Run(t, "dmsetup", append([]string{"remove", "--retry", "origin"}, stores...)...)
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
	create := func(name, store string, more ...string) {
		fmt.Println("doing create")
		tool.OK(append([]string{"create", origin, "--name", name, "--store", store, "--size", "8m"}, more...)...)
		w.WaitFor(t, 1)
	}
	remove := func(name string, more ...string) {
		fmt.Println(strings.TrimSpace("doing remove " + strings.Join(more, " ")))
		tool.OK(append([]string{"remove", name}, more...)...)
	}
	for chains := os.Getenv("DMSNAP_CHAINS") != ""; ; chains = !chains {
		if !chains {
			create("cut", stores[0])
			fmt.Println("doing extend")
			tool.OK("extend", "cut", "+4m")
			remove("cut")
			continue
		}
		for i, name := range []string{"old", "middle", "new"} { // each is chained onto the next
			create(name, stores[i], "--persistent")
		}
		remove("middle", "--flatten")
		remove("new")
		remove("old")
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
		if _, said, code := tool.Try("remove", set.Name); code != 0 && code != 4 { // what is left of another may have gone with it
			t.Errorf("remove %s: exit %d: %s", set.Name, code, said)
		}
	}
	for _, store := range stores {
		lab.Run(t, "wipefs", "-qa", store) // that of a persistent set has its header
	}
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
