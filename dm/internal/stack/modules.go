package stack

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// Target is one target type of the device-mapper.
type Target struct {
	Version   string // "" if it is not loaded
	Available bool   // it is, or its module is installed
}

// Target looks a target type up. Asking the kernel for one by name loads its
// module; a Reader that loads nothing asks for the list of those that are, and
// looks among the modules that are installed.
func (r *Reader) Target(name string) (Target, error) {
	if !r.LoadNothing {
		v, err := r.Control.TargetVersion(name)
		if errors.Is(err, unix.EINVAL) {
			return Target{}, nil
		}
		return Target{Version: v.Version.String(), Available: err == nil}, err
	}
	loaded, err := r.Control.TargetVersions()
	if err != nil {
		return Target{}, err
	}
	i := slices.IndexFunc(loaded, func(v ioctl.TargetVersion) bool { return v.Name == name })
	if i >= 0 {
		return Target{Version: loaded[i].Version.String(), Available: true}, nil
	}
	installed, err := r.installed(ModuleOf(name))
	return Target{Available: installed}, err
}

// ModuleOf is the module that has a target type.
func ModuleOf(target string) string {
	if strings.HasPrefix(target, "snapshot") {
		target = "snapshot"
	}
	return "dm-" + target
}

// installed looks for a module among those of the running kernel. Where they
// cannot be seen, as in a container, none is.
func (r *Reader) installed(module string) (bool, error) {
	release, err := r.Kernel.Release()
	if err != nil {
		return false, err
	}
	text, err := r.Kernel.ReadFile(path.Join("/lib/modules", release, "modules.dep"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	for line := range strings.Lines(string(text)) {
		file, _, _ := strings.Cut(line, ":")
		name, _, _ := strings.Cut(path.Base(file), ".ko")
		if strings.ReplaceAll(name, "_", "-") == module {
			return true, err
		}
	}
	return false, err
}
