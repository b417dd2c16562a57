package leak

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const kthreadd = "2"

// processes lists user processes by id and start time, so that a reused id is another process. Workers of udevd are
// left out: they linger on purpose.
func processes(add func(string)) error {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return err
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // ended while we look
		}
		line, user, err := processLine(string(text))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if user {
			add(line + commandLine(filepath.Dir(path)))
		}
	}
	return nil
}

// commandLine tells what the process was called with; a zombie has none.
func commandLine(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil || len(text) == 0 {
		return ""
	}
	return ": " + strings.ReplaceAll(strings.TrimRight(string(text), "\x00"), "\x00", " ")
}

// processLine reads "pid (name) state ppid ... starttime ...": the name may hold anything, so it ends at the last ')'.
func processLine(stat string) (line string, user bool, err error) {
	open, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return "", false, fmt.Errorf("odd line %q", stat)
	}
	pid, name, rest := strings.TrimSpace(stat[:open]), stat[open+1:end], strings.Fields(stat[end+1:])
	if len(rest) < 20 {
		return "", false, fmt.Errorf("short line %q", stat)
	}
	parent, start := rest[1], rest[19]
	if pid == kthreadd || parent == kthreadd || name == "systemd-udevd" || name == "(udev-worker)" {
		return "", false, nil
	}
	return fmt.Sprintf("process %s (%s, started %s)", pid, name, start), true, nil
}

// descriptors lists what this process has open, apart from the Go runtime's own poller.
func descriptors(add func(string)) error {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if _, err := strconv.Atoi(entry.Name()); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		target, err := os.Readlink(filepath.Join(dir, entry.Name()))
		if err != nil || target == "anon_inode:[eventpoll]" || target == "anon_inode:[eventfd]" {
			continue // our own reading of the directory, or the poller
		}
		add("descriptor of " + target)
	}
	return nil
}
