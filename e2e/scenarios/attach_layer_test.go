package scenarios

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestAttachedLayer has targets beneath a mounted partition, its writer and its sets. dm-era is a witness: what it
// says was written between two sets is at least what differs between their images.
func TestAttachedLayer(t *testing.T) {
	for name, target := range map[string]string{"era": "era %[1]s %[2]s 128", "linear": "linear %[2]s 0", "delay": "delay %[2]s 0 1"} {
		t.Run(name, func(t *testing.T) {
			lab.Need(t)
			lab.LoadModule(t)
			v, meta := layered(t)
			older := lab.Store(t, "older", lab.Disks(t, 3)[2], 0, 80)
			w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
			tool := lab.NewTool(t)
			layer := "0 " + sectorsOf(t, v.Device) + " " + fmt.Sprintf(target, meta, v.Device)
			for range lab.Rounds(t, 1, 3) {
				if out := tool.OK("attach", v.Dir, "--layer", layer, "--json"); !strings.Contains(out, `"layer":"`+layer+`"`) {
					t.Errorf("attach: %s", out)
				}
				if out := tool.OK("doctor", v.Dir); !strings.Contains(out, layer) {
					t.Errorf("doctor: %s", out)
				}
				w.WaitFor(t, 3)
				for i := range lab.Rounds(t, 1, 2) {
					cycle(t, tool, w, v, fmt.Sprintf("l%d", i))
				}
				if name == "era" {
					compareWithEra(t, tool, w, v, meta, older)
				}
				tool.OK("recover")
				tool.OK("attach", v.Device, "--layer", layer)
				tool.OK("detach", v.Dir)
				if left := lab.Run(t, "dmsetup", "ls"); strings.Contains(left, "dmsnap") {
					t.Fatalf("left over: %s", left)
				}
				w.WaitFor(t, 3)
			}
			w.Stop(t)
			checkFilesystem(t, "ext4", v.Device, v.Dir)
		})
	}
}

// layered is a mounted partition, and a device for a layer's own data.
func layered(t *testing.T) (v lab.Volume, meta string) {
	t.Helper()
	disks := lab.Disks(t, 2)
	v = lab.Volume{Device: lab.Partition(t, disks[0], 1, 1, 64), Store: lab.Store(t, "store", disks[1], 0, 80)}
	v.Name = filepath.Base(v.Device)
	lab.Format(t, "ext4", v.Device)
	v.Dir = lab.Mount(t, v.Device)
	return v, lab.Store(t, "meta", disks[1], 80, 4)
}

func sectorsOf(t *testing.T, dev string) string {
	t.Helper()
	return strings.TrimSpace(lab.Run(t, "blockdev", "--getsz", dev))
}

// compareWithEra takes two sets, and compares what differs between them with what dm-era says.
func compareWithEra(t *testing.T, tool *lab.Tool, w *lab.Writer, v lab.Volume, meta, older string) {
	t.Helper()
	base := "dmsnap-base-" + v.Name
	lab.Run(t, "dmsetup", "message", base, "0", "checkpoint")
	era := strings.Fields(lab.Run(t, "dmsetup", "status", base))[5]
	stores := []string{older, v.Store}
	var images []string
	for i, name := range []string{"older", "newer"} {
		set := tool.CreateOnly(name, v.Device, "--store", stores[i])
		if out := tool.OK("show", name, "--json"); !strings.Contains(out, `"origin_layer":"0 `) {
			t.Errorf("show: %s", out)
		}
		images = append(images, set.Volumes[0].Device)
		w.WaitFor(t, slots/4)
	}
	lab.Run(t, "dmsetup", "message", base, "0", "take_metadata_snap")
	marked := written(t, lab.Run(t, "era_invalidate", "--metadata-snapshot", "--written-since", era, meta))
	lab.Run(t, "dmsetup", "message", base, "0", "drop_metadata_snap")
	changed := differing(t, images[0], images[1])
	for _, block := range changed {
		if !marked[block] {
			t.Errorf("block %d differs between the images, and was not written since era %s, says dm-era", block, era)
		}
	}
	t.Logf("%d blocks differ, %d are marked since era %s", len(changed), len(marked), era)
	if len(changed) == 0 || len(marked) == 64<<20/trackedBlock {
		t.Error("that proves nothing")
	}
	tool.OK("remove", "older", "newer")
}

// trackedBlock is what dm-era marks, in bytes.
const trackedBlock = 64 << 10

// differing are the blocks in which two devices differ.
func differing(t *testing.T, a, b string) (blocks []int64) {
	t.Helper()
	var files [2]*os.File
	var data [2][]byte
	for i, path := range []string{a, b} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i], data[i] = f, make([]byte, trackedBlock)
	}
	for at := int64(0); ; at++ {
		for i, f := range files {
			if n, err := f.ReadAt(data[i], at*trackedBlock); n == 0 && err == io.EOF {
				return blocks
			} else if n < trackedBlock {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(data[0], data[1]) {
			blocks = append(blocks, at)
		}
	}
}

// written reads what era_invalidate prints.
func written(t *testing.T, text string) map[int64]bool {
	t.Helper()
	var list struct {
		Blocks []struct {
			Block int64 `xml:"block,attr"`
		} `xml:"block"`
		Ranges []struct {
			Begin int64 `xml:"begin,attr"`
			End   int64 `xml:"end,attr"`
		} `xml:"range"`
	}
	if err := xml.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	marked := map[int64]bool{}
	for _, b := range list.Blocks {
		marked[b.Block] = true
	}
	for _, r := range list.Ranges {
		for b := r.Begin; b < r.End; b++ {
			marked[b] = true
		}
	}
	return marked
}

// TestLayerThatFails is the exception to the rule that nothing harms the origin, as it is documented: dm-era that cannot write its
// metadata fails writes. A detach ends that.
func TestLayerThatFails(t *testing.T) {
	lab.Need(t)
	lab.LoadModule(t)
	lab.Wide(t)
	disks := lab.Disks(t, 2)
	plain := lab.Partition(t, disks[0], 1, 1, 64)
	tool := lab.NewTool(t)
	meta := lab.Table(t, "meta", "0 256 linear "+disks[1]+" 0")
	layer := "0 " + sectorsOf(t, plain) + " era " + meta + " " + plain + " 128"
	if _, stderr, code := tool.Try("attach", plain, "--layer", layer); code != 2 || !strings.Contains(stderr, "needs") {
		t.Errorf("too small: exit %d: %s", code, stderr)
	}
	reload := func(table string) {
		lab.Run(t, "dmsetup", "load", "meta", "--table", table)
		lab.Run(t, "dmsetup", "resume", "meta")
	}
	reload("0 8192 linear " + disks[1] + " 0")
	tool.OK("attach", plain, "--layer", layer)
	write := func(block string) error {
		return exec.Command("dd", "if=/dev/urandom", "of="+plain, "bs=64k", "count=1", "seek="+block, "oflag=direct", "status=none").Run()
	}
	if err := write("0"); err != nil {
		t.Error(err)
	}
	reload("0 8192 error")
	if write("1") == nil {
		t.Error("a block was written that dm-era could not mark")
	}
	tool.OK("detach", plain)
	if err := write("1"); err != nil {
		t.Errorf("after detach: %v", err)
	}
}
