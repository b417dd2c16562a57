package leak

import (
	"os"
	"path/filepath"
	"strings"
)

// dmDevices names each device-mapper device, and says so where it is suspended.
func dmDevices(add func(string)) error {
	paths, err := filepath.Glob("/sys/block/dm-*/dm/name")
	if err != nil {
		return err
	}
	for _, path := range paths {
		name, err := os.ReadFile(path)
		if err != nil {
			continue // removed while we look
		}
		line := "dm device " + strings.TrimSpace(string(name))
		if suspended(filepath.Dir(path)) {
			line += " (suspended)"
		}
		add(line)
	}
	return nil
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
