package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/e2e/guest/bench/report"
)

// method is one way to cut volumes and to take the cut down. Only create and remove are measured.
type method struct {
	name                                    string
	many                                    int // cuts many volumes too, in every so-manieth round
	create, remove                          func([]volume) (report.Own, error)
	beforeCreate, beforeRemove, afterRemove func([]volume) error
}

func methods() []method {
	return []method{
		{name: report.Dmsnap, many: 3, create: dmsnapCreate("fs"), remove: dmsnapRemove},
		{name: report.Crash, many: 3, create: dmsnapCreate("crash"), remove: dmsnapRemove},
		{name: report.LVM, many: 5, create: lvmCreate, remove: lvmRemove}, // takes most of the time
		{name: report.Dmsetup, create: dmsetupCreate, remove: dmsetupRemove, afterRemove: wipeAll},
		floor(report.Floor, false, 3), floor(report.Expedited, true, 3),
		{name: report.Nothing, create: pause, remove: pause},
	}
}

// pause shows what gaps the writers see when nobody does anything.
func pause([]volume) (report.Own, error) {
	time.Sleep(300 * time.Millisecond)
	return report.Own{}, nil
}

func dmsnapCreate(consistency string) func([]volume) (report.Own, error) {
	return func(vs []volume) (own report.Own, err error) {
		args := []string{"create", "--name", "bench", "--json", "--consistency", consistency}
		for _, v := range vs {
			args = append(args, v.device, "--store", v.device+"="+v.store)
		}
		begin := time.Now()
		text, err := output(os.Getenv("DMSNAP_BIN"), args...)
		finish := time.Now()
		if err != nil {
			return own, err
		}
		return receiptOf(text, begin, finish)
	}
}

func receiptOf(text []byte, begin, finish time.Time) (own report.Own, err error) {
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
	disk := strings.Split(os.Getenv("DMSNAP_DISKS"), ",")[1]
	size := fmt.Sprintf("%dM", storeMiB)
	for _, v := range vs {
		_, err := output("lvcreate", "-q", "-y", "-s", "-c", "64k", "-L", size, "-n", v.image, v.device, disk)
		if err != nil {
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

// dmsetupCreate is what one types who knows the kernel's documentation.
func dmsetupCreate(vs []volume) (report.Own, error) {
	return report.Own{}, shellEach(vs, `
		dmsetup create NAME-real --table 'TABLE'
		dmsetup create NAME-cow --table '0 COWLEN linear STORE 0'
		dd if=/dev/zero of=/dev/mapper/NAME-cow bs=64k count=1 conv=fsync status=none
		dmsetup create NAME-image --notable
		dmsetup load NAME-image --table '0 LENGTH snapshot /dev/mapper/NAME-real /dev/mapper/NAME-cow N 128'
		dmsetup load NAME --table '0 LENGTH snapshot-origin /dev/mapper/NAME-real'
		dmsetup suspend NAME
		dmsetup resume NAME-image
		dmsetup resume NAME`)
}

func dmsetupRemove(vs []volume) (report.Own, error) {
	return report.Own{}, shellEach(vs, `
		dmsetup load NAME --table 'TABLE'
		dmsetup suspend NAME
		dmsetup resume NAME
		dmsetup remove --retry NAME-image
		dmsetup remove --retry NAME-cow
		dmsetup remove --retry NAME-real`)
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
