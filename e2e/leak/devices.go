package leak

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const suspendedMark = " (suspended)"

// dmDevices names each device-mapper device, and says so where it is suspended. sysfs does not show a device that
// never had a table, therefore dmsetup is asked too.
func dmDevices(add func(string)) error {
	shown, err := sysfsDevices(add)
	if err != nil {
		return err
	}
	if _, err := exec.LookPath("dmsetup"); err != nil {
		return nil
	}
	text, err := exec.Command("dmsetup", "info", "--columns", "--noheadings", "-o", "name").Output()
	if err != nil {
		return fmt.Errorf("dmsetup info: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if name := strings.TrimSpace(line); name != "No devices found" && !shown[name] {
			add("dm device " + name + " (without a table)")
		}
	}
	return nil
}

func sysfsDevices(add func(string)) (shown map[string]bool, err error) {
	paths, err := filepath.Glob("/sys/block/dm-*/dm/name")
	if err != nil {
		return nil, err
	}
	shown = map[string]bool{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // removed while we look
		}
		name := strings.TrimSpace(string(text))
		shown[name] = true
		if suspended(filepath.Dir(path)) {
			add("dm device " + name + suspendedMark)
		} else {
			add("dm device " + name)
		}
	}
	return shown, nil
}

func suspended(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "suspended"))
	return err == nil && strings.TrimSpace(string(text)) == "1"
}

// mapperNodes lists /dev/mapper: a node or link may outlive its device.
func mapperNodes(add func(string)) error {
	entries, err := os.ReadDir("/dev/mapper")
	if os.IsNotExist(err) {
		return nil
	}
	for _, entry := range entries {
		if entry.Name() != "control" {
			add("node /dev/mapper/" + entry.Name())
		}
	}
	return err
}

func loops(add func(string)) error {
	paths, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return err
	}
	for _, path := range paths {
		file, err := os.ReadFile(path)
		if err != nil {
			continue // detached while we look
		}
		device := filepath.Base(filepath.Dir(filepath.Dir(path)))
		add("loop device " + device + " on " + strings.TrimSpace(string(file)))
	}
	return nil
}

func semaphores(add func(string)) error {
	text, err := os.ReadFile("/proc/sysvipc/sem")
	if os.IsNotExist(err) {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range lines[min(1, len(lines)):] {
		if fields := strings.Fields(line); len(fields) > 1 {
			add("semaphore key " + fields[0] + " id " + fields[1])
		}
	}
	return err
}
