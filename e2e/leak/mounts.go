package leak

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// fithaw is FITHAW, _IOWR('X', 120, int), which x/sys does not have.
const fithaw = 0xc0045878

type mountPoint struct{ dir, fstype, source string }

func mountPoints() ([]mountPoint, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var points []mountPoint
	for line := range strings.Lines(string(text)) {
		// 36 35 98:0 /root /dir options [optional...] - fstype source superoptions
		mount, super, found := strings.Cut(line, " - ")
		left, right := strings.Fields(mount), strings.Fields(super)
		if !found || len(left) < 5 || len(right) < 2 {
			return nil, fmt.Errorf("mountinfo: odd line %q", line)
		}
		points = append(points, mountPoint{left[4], right[0], right[1]})
	}
	return points, nil
}

func mounts(add func(string)) error {
	points, err := mountPoints()
	for _, p := range points {
		add("mount " + p.dir + " (" + p.fstype + " " + p.source + ")")
	}
	return err
}

// ThawAll thaws every mounted file system on a device, and names those that were frozen. It changes the system, so it
// is for the end of a run. It looks away while a dm device is suspended: a thaw would block.
func ThawAll() []string {
	state, err := take(dmDevices)
	if err != nil {
		return []string{err.Error()}
	}
	for line := range state {
		if strings.HasSuffix(line, suspendedMark) {
			return []string{"not looked for frozen file systems: " + line}
		}
	}
	points, err := mountPoints()
	if err != nil {
		return []string{err.Error()}
	}
	var lines []string
	for _, p := range points {
		if strings.HasPrefix(p.source, "/dev/") && thaw(p.dir) {
			lines = append(lines, "left behind: frozen file system "+p.dir)
		}
	}
	return lines
}

// thaw reports whether the file system was frozen: one that is not refuses with EINVAL.
func thaw(dir string) bool {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.IoctlSetInt(fd, fithaw, 0) == nil
}
