package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// Schema is the version of the files. A newer one is refused, never guessed.
const Schema = 1

// ErrNewer means that a file was written by a later version of dmsnap.
var ErrNewer = errors.New("written by a newer version of dmsnap")

// DirError is a state directory that cannot be used.
type DirError struct {
	Dir string
	Err error
}

func (e *DirError) Error() string { return "state directory " + e.Dir + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *DirError) Unwrap() error { return e.Err }

func (d Dir) wrap(err error) error {
	if err == nil {
		return nil
	}
	return &DirError{Dir: d.Path, Err: err}
}

// Dir is a state directory.
type Dir struct {
	Kernel *ioctl.Kernel
	Path   string
}

const (
	setsDir     = "sets"
	intentsDir  = "journal"
	attachedDir = "attached"
	locksDir    = "lock"
)

// Init makes the directory, for root only: records name paths and devices.
func (d Dir) Init() error {
	if err := d.wrap(d.init()); err != nil {
		return err
	}
	return d.initHostLocks()
}

func (d Dir) init() error {
	for _, sub := range []string{"", setsDir, intentsDir, attachedDir, locksDir} {
		if err := d.Kernel.MkdirAll(path.Join(d.Path, sub), 0o700); err != nil {
			return err
		}
	}
	st, err := d.Kernel.Stat(d.Path)
	if err != nil {
		return err
	}
	return d.rootOnly(st)
}

// rootOnly refuses a directory in which users other than root and our own can make and
// remove files.
func (d Dir) rootOnly(st ioctl.Stat) error {
	if st.Mode&0o022 != 0 || st.UID != 0 && int(st.UID) != d.Kernel.Geteuid() {
		return fmt.Errorf("writable by others: %w", unix.EPERM)
	}
	return nil
}

// save writes one file so that after a power cut it is the old one or the new
// one: a temporary file, synced, renamed, and the directory synced.
func (d Dir) save(sub, name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return d.wrap(d.write(sub, name, b))
}

func (d Dir) write(sub, name string, b []byte) error {
	dir := path.Join(d.Path, sub)
	tmp := path.Join(dir, "."+name+".tmp")
	if err := d.Kernel.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return errors.Join(err, d.drop(tmp))
	}
	if err := d.Kernel.Rename(tmp, path.Join(dir, name)); err != nil {
		return errors.Join(err, d.drop(tmp))
	}
	return d.Kernel.SyncDir(dir)
}

func (d Dir) drop(file string) error {
	if err := d.Kernel.Unlink(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d Dir) remove(sub, name string) error {
	dir := path.Join(d.Path, sub)
	if err := d.drop(path.Join(dir, name)); err != nil {
		return d.wrap(err)
	}
	return d.wrap(d.Kernel.SyncDir(dir))
}

// load reads one file into v.
func (d Dir) load(sub, name string, v any) error {
	file := path.Join(d.Path, sub, name)
	b, err := d.Kernel.ReadFile(file)
	if err != nil {
		return err
	}
	var head struct {
		Schema int `json:"schema_version"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	switch {
	case head.Schema > Schema:
		return fmt.Errorf("%s: %w", file, ErrNewer)
	case head.Schema < 1:
		return fmt.Errorf("%s: no schema_version", file)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// names lists the finished files of a subdirectory; none if it does not exist.
func (d Dir) names(sub string) ([]string, error) {
	entries, err := d.Kernel.ReadDir(path.Join(d.Path, sub))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, e := range entries {
		if strings.HasSuffix(e, suffix) && !strings.HasPrefix(e, ".") {
			out = append(out, strings.TrimSuffix(e, suffix))
		}
	}
	return out, err
}

const suffix = ".json"
