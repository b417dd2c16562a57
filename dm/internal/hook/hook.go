package hook

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// Event is the argument a hook is called with.
type Event string

// The events. Whoever was called with PreFreeze is called with one of the
// others too, whatever happens in between; after a kill perhaps twice.
const (
	PreFreeze Event = "pre-freeze" // quiesce: a cut is about to be made
	PostThaw  Event = "post-thaw"  // the set exists
	Abort     Event = "abort"      // it does not
)

// ErrHook is wrapped by all errors of hooks.
var ErrHook = errors.New("hook")

// fileName is two digits, then what files may be called that no editor or
// package manager left behind.
var fileName = regexp.MustCompile(`^[0-9]{2}[A-Za-z0-9_-]+(\.(sh|py|pl))?$`)

// Find lists the hooks of directories, each directory's by name. Files whose names do not begin with two digits are not
// hooks. Everything else must pass [Check], or nothing is run at all.
func Find(k *ioctl.Kernel, dirs ...string) ([]string, error) {
	var hooks []string
	for _, dir := range dirs {
		names, err := k.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if !fileName.MatchString(name) {
				continue
			}
			hook := path.Join(dir, name)
			if err := Check(k, hook); err != nil {
				return nil, err
			}
			hooks = append(hooks, hook)
		}
	}
	return hooks, nil
}

// Check refuses a program that a user other than root could have put there:
// it and every directory above it must be root's and writable by root only. It
// must be a regular file, executable, and reached without symbolic links.
func Check(k *ioctl.Kernel, hook string) error {
	refuse := func(what, why string) error { return fmt.Errorf("%w %s refused: %s %s", ErrHook, hook, what, why) }
	if !path.IsAbs(hook) || path.Clean(hook) != hook {
		return refuse(hook, "is not a clean absolute path")
	}
	for at := hook; ; at = path.Dir(at) {
		st, err := k.Lstat(at)
		if err != nil {
			return fmt.Errorf("%w %s: %w", ErrHook, hook, err)
		}
		switch {
		case st.Is(unix.S_IFLNK):
			return refuse(at, "is a symbolic link")
		case st.UID != 0:
			return refuse(at, "does not belong to root")
		case st.Mode&0o022 != 0:
			return refuse(at, "is writable by others")
		case at == hook && (!st.Is(unix.S_IFREG) || st.Mode&0o111 == 0):
			return refuse(at, "is not an executable file")
		}
		if at == "/" {
			return nil
		}
	}
}

// lastLine is what a hook said, fit for one line.
func lastLine(said string) string {
	lines := strings.FieldsFunc(said, func(r rune) bool { return r == '\n' || r == '\r' })
	if len(lines) == 0 {
		return ""
	}
	return ": " + lines[len(lines)-1]
}
