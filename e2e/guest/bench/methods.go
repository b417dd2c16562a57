package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/e2e/guest/bench/report"
)

// method is one way to cut volumes and to take the cut down. Only create and remove are measured.
type method struct {
	name                                    string
	many                                    bool // also measured on many volumes
	create, remove                          func([]volume) (report.Own, error)
	beforeCreate, beforeRemove, afterRemove func([]volume) error
}

func methods() []method {
	floor := func(name, expedited string) method {
		return method{
			name: name, many: true,
			beforeCreate: preload, beforeRemove: loadOwn, afterRemove: dropParts,
			create: func(vs []volume) (report.Own, error) { return bare("cut", expedited, vs) },
			remove: func(vs []volume) (report.Own, error) { return bare("swap", expedited, vs) },
		}
	}
	return []method{
		{name: report.Dmsnap, many: true, create: dmsnapCreate, remove: dmsnapRemove},
		{name: report.LVM, many: true, create: lvmCreate, remove: lvmRemove},
		{name: report.Dmsetup, create: byHandCreate, remove: byHandRemove},
		floor(report.Floor, "0"), floor(report.Expedited, "1"),
		{name: report.Nothing, create: pause, remove: pause},
	}
}

// pause shows what gaps the writers see when nobody does anything.
func pause([]volume) (report.Own, error) {
	time.Sleep(300 * time.Millisecond)
	return report.Own{}, nil
}

func dmsnapCreate(vs []volume) (own report.Own, err error) {
	args := []string{"create", "--name", "bench", "--json"}
	for _, v := range vs {
		args = append(args, v.device, "--store", v.device+"="+v.store)
	}
	begin := time.Now()
	text, err := output(os.Getenv("DMSNAP_BIN"), args...)
	finish := time.Now()
	if err != nil {
		return own, err
	}
	var out struct {
		Sets []struct {
			Receipt struct {
				Start, End time.Time
				report.Own
			}
		}
	}
	if err := json.Unmarshal(text, &out); err != nil || len(out.Sets) != 1 {
		return own, fmt.Errorf("not one set: %w: %s", err, text)
	}
	receipt := out.Sets[0].Receipt
	own = receipt.Own
	own.BeforeUS, own.AfterUS = receipt.Start.Sub(begin).Microseconds(), finish.Sub(receipt.End).Microseconds()
	return own, nil
}

func dmsnapRemove([]volume) (report.Own, error) {
	_, err := output(os.Getenv("DMSNAP_BIN"), "remove", "bench")
	return report.Own{}, err
}

// lvmCreate cuts one volume after the other: lvcreate knows no sets. It copies in the same units as dmsnap.
func lvmCreate(vs []volume) (report.Own, error) {
	for _, v := range vs {
		disk := strings.Split(os.Getenv("DMSNAP_DISKS"), ",")[1]
		if _, err := output("lvcreate", "-q", "-y", "-s", "-c", "64k", "--monitor", "n", "-L", fmt.Sprintf("%dM", storeMiB), "-n", v.image, v.device, disk); err != nil {
			return report.Own{}, err
		}
	}
	return report.Own{}, nil
}

func lvmRemove(vs []volume) (report.Own, error) {
	args := []string{"-q", "-f"}
	for _, v := range vs {
		args = append(args, group+"/"+v.image)
	}
	_, err := output("lvremove", args...)
	return report.Own{}, err
}

// Lines of dmsetup, as one types them. The names of the parts are the origin's with -real, -cow and -image.
func parts(v volume) string {
	return fmt.Sprintf("dmsetup create %s-real --table '%s'; dmsetup create %s-cow --table '0 %d linear %s 0'; ", v.name, v.table, v.name, storeMiB*2048, v.store) +
		fmt.Sprintf("dd if=/dev/zero of=/dev/mapper/%s-cow bs=64k count=1 conv=fsync status=none; ", v.name) +
		fmt.Sprintf("dmsetup create %s-image --notable", v.name)
}

func tables(v volume) string {
	return fmt.Sprintf("dmsetup load %s-image --table '0 %s snapshot /dev/mapper/%s-real /dev/mapper/%s-cow N 128'; ", v.name, v.length, v.name, v.name) +
		fmt.Sprintf("dmsetup load %s --table '0 %s snapshot-origin /dev/mapper/%s-real'", v.name, v.length, v.name)
}

func dropLine(v volume) string {
	return fmt.Sprintf("dmsetup remove --retry %s-image; dmsetup remove --retry %s-cow; dmsetup remove --retry %s-real", v.name, v.name, v.name)
}

func byHandCreate(vs []volume) (report.Own, error) {
	return report.Own{}, shell("%s", each(vs, func(v volume) string {
		return parts(v) + "; " + tables(v) + fmt.Sprintf("; dmsetup suspend %s; dmsetup resume %s-image; dmsetup resume %s", v.name, v.name, v.name)
	}))
}

func byHandRemove(vs []volume) (report.Own, error) {
	return report.Own{}, shell("%s", each(vs, func(v volume) string {
		return fmt.Sprintf("dmsetup load %s --table '%s'; dmsetup suspend %s; dmsetup resume %s; ", v.name, v.table, v.name, v.name) + dropLine(v)
	}))
}

// preload does all that can be done before the bare calls. An image that is suspended already spares them a wait.
func preload(vs []volume) error {
	return shell("%s", each(vs, func(v volume) string {
		return parts(v) + fmt.Sprintf("; dmsetup suspend %s-image; ", v.name) + tables(v)
	})+"udevadm settle")
}

func loadOwn(vs []volume) error {
	return shell("%s", each(vs, func(v volume) string { return fmt.Sprintf("dmsetup load %s --table '%s'", v.name, v.table) })+"udevadm settle")
}

func dropParts(vs []volume) error { return shell("%s", each(vs, dropLine)) }

// bare runs floor.c.
func bare(what, expedited string, vs []volume) (own report.Own, err error) {
	var fronts, images, dirs []string
	for _, v := range vs {
		fronts, images, dirs = append(fronts, v.name), append(images, v.name+"-image"), append(dirs, v.dir)
	}
	args := append([]string{what, expedited, strconv.Itoa(len(vs))}, fronts...)
	if what == "cut" {
		args = append(append(args, images...), dirs...)
	}
	text, err := output(os.Getenv("DMSNAP_FLOOR"), args...)
	if err == nil {
		own.WindowUS, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	}
	return own, err
}

func output(name string, args ...string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, append(text, stderr.Bytes()...))
	}
	return text, nil
}
