package lvmlock

import (
	"regexp"

	"github.com/dmsnap/dmsnap/ioctl"
)

// usualDir is where lvm2 keeps its locks unless its configuration says otherwise.
const usualDir = "/run/lock/lvm"

var lockingDir = regexp.MustCompile(`(?m)^[^#\n]*\blocking_dir\s*=\s*"([^"\n]+)"`)

// Dir is lvm2's locking_dir on this host; lvmlocal.conf overrides lvm.conf.
func Dir(k *ioctl.Kernel) string {
	dir := usualDir
	for _, file := range []string{"/etc/lvm/lvm.conf", "/etc/lvm/lvmlocal.conf"} {
		b, err := k.ReadFile(file)
		if err != nil {
			continue // it need not be there
		}
		for _, m := range lockingDir.FindAllSubmatch(b, -1) {
			dir = string(m[1])
		}
	}
	return dir
}
