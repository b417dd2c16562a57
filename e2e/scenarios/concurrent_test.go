package scenarios

import (
	"fmt"
	"sync"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestManyAtOnce has many processes cut and remove sets that overlap, in every order of their origins. All of them come
// through with patience, and list answers all the while.
func TestManyAtOnce(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	rounds := 1
	if lab.Full() {
		rounds = 10
	}
	disks := lab.Disks(t, 6)
	var vols []lab.Volume
	for i, name := range []string{"a", "b", "c"} {
		vols = append(vols, lab.NewVolume(t, name, "ext4", disks[i], disks[i+3], 0, 64))
	}
	tool := lab.NewTool(t)
	var work sync.WaitGroup
	for i, members := range [][]int{{0, 1}, {1, 2}, {2, 0}, {1, 0}, {2}} {
		var set []lab.Volume
		for _, m := range members {
			v := vols[m]
			v.Store = lab.Store(t, fmt.Sprintf("cow%d-%s", i, v.Name), disks[m+3], 64*(i+1), 64)
			set = append(set, v)
		}
		work.Go(func() {
			for round := range rounds {
				name := fmt.Sprintf("set%d.%d", i, round)
				if err := tool.Run(append([]string{"--wait", "5m", "create", "--name", name}, tool.Origins(set...)...)...); err != nil {
					t.Error(err)
					return
				}
				if err := tool.Run("--wait", "5m", "remove", name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { work.Wait(); close(done) }()
	lists := 0
	for running := true; running; lists++ {
		select {
		case <-done:
			running = false
		default:
		}
		if err := tool.Run("list", "--json"); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d lists meanwhile", lists)
	if left := tool.OK("list"); left != "" {
		t.Errorf("left: %s", left)
	}
}
