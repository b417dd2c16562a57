package journal

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// Set is the record of a set: what its tables cannot say.
type Set struct {
	Schema     int               `json:"schema_version"`
	Name       string            `json:"name"`
	ID         string            `json:"id"`
	BootID     string            `json:"boot_id"`
	Created    time.Time         `json:"created"`
	Persistent bool              `json:"persistent"`
	Labels     map[string]string `json:"labels"`
	Receipt    json.RawMessage   `json:"receipt"`
	Volumes    []Volume          `json:"volumes"`
	// Lease is how long the set is wanted, as dm.Lease writes it. LeaseEnd is its
	// end in time since boot, LeaseStart the start time of its process.
	Lease      string        `json:"lease,omitempty"`
	LeaseEnd   time.Duration `json:"lease_end,omitempty"`
	LeaseStart string        `json:"lease_start,omitempty"`
	// Held keeps it although the lease is over.
	Held bool `json:"held,omitempty"`
	// MadeDirs are directories mount made, deepest last.
	MadeDirs []string `json:"made_dirs,omitempty"`
}

// Volume is the record of one volume.
type Volume struct {
	Name   string `json:"name"`
	Origin string `json:"origin"`
	// Asked is what the user called the origin.
	Asked       string   `json:"asked,omitempty"`
	OriginDevno string   `json:"origin_devno"`
	FrontUUID   string   `json:"front_uuid"`
	Mountpoints []string `json:"mountpoints"`
	FSType      string   `json:"fstype"`
	StoreKind   string   `json:"store_kind"`
	StorePath   string   `json:"store_path"`
	StoreBytes  uint64   `json:"store_bytes"`
	// StoreLead is where the store begins on its device or in its file, in bytes.
	StoreLead uint64 `json:"store_lead,omitempty"`
	// StoreWhy says why dmsnap chose the store; empty if the user did.
	StoreWhy string `json:"store_why,omitempty"`
	// StoreFile is what the store is made of, if it is no device.
	StoreFile *plan.File `json:"store_file,omitempty"`
	// MoreFiles are the store's further files, in their order.
	MoreFiles []*plan.File `json:"more_files,omitempty"`
	// Spill are the store's further devices, in their order.
	Spill      []string `json:"spill,omitempty"`
	SizeBytes  uint64   `json:"size_bytes"`
	ChunkBytes uint64   `json:"chunk_bytes"`
	Writable   bool     `json:"writable"`
}

// Files are all those of a volume's store.
func (v Volume) Files() (files []*plan.File) {
	if v.StoreFile != nil {
		files = append(files, v.StoreFile)
	}
	return append(files, v.MoreFiles...)
}

// SaveSet writes the record of a set; it is the outcome of a create.
func (d Dir) SaveSet(s Set) error {
	s.Schema = Schema
	return d.save(setsDir, s.Name+suffix, s)
}

// LoadSet reads one record; fs.ErrNotExist if there is none.
func (d Dir) LoadSet(name string) (Set, error) {
	var s Set
	err := d.load(setsDir, name+suffix, &s)
	return s, err
}

// DropSet removes the record of the set with that name and id. None is no error,
// nor one of another set, which stays.
func (d Dir) DropSet(name, id string) error {
	s, err := d.LoadSet(name)
	return d.dropFor(setsDir, name+suffix, id, s.ID, err)
}

// Droppable fails if DropSet would, since the record's set is unknown: to be
// asked before anything is done that ends with DropSet.
func (d Dir) Droppable(name string) error {
	_, err := d.LoadSet(name)
	if !unknowable(err) {
		return nil
	}
	return &RecordError{path.Join(d.Path, setsDir, name+suffix), err}
}

// RecordError is a record that is there and cannot be read.
type RecordError struct {
	File string
	Err  error
}

func (e *RecordError) Error() string { return "the record of the set cannot be read: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *RecordError) Unwrap() error { return e.Err }

// unknowable tells of the error of a load whether the file may be anybody's. A torn one
// was written by nobody who is still at it.
func unknowable(err error) bool {
	_, unreadable := errors.AsType[unix.Errno](err)
	return errors.Is(err, ErrNewer) || unreadable && !errors.Is(err, fs.ErrNotExist)
}

// dropFor removes a file that is of an id.
func (d Dir) dropFor(sub, name, id, found string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && found != id:
		return nil
	case unknowable(err):
		return d.wrap(err)
	}
	return d.remove(sub, name)
}

// Sets reads all records. Those that cannot be read are in the error and the
// others are returned all the same: the kernel knows the devices.
func (d Dir) Sets() ([]Set, error) {
	names, err := d.names(setsDir)
	errs := []error{err}
	var out []Set
	for _, name := range names {
		s, err := d.LoadSet(name)
		switch {
		case err == nil:
			out = append(out, s)
		case !errors.Is(err, fs.ErrNotExist): // removed since
			errs = append(errs, err)
		}
	}
	return out, errors.Join(errs...)
}

// Medium is a device that becomes a part of a store.
type Medium struct {
	Path   string `json:"path"`
	Volume int    `json:"volume"`
}

// Intent says what an operation is about to do.
type Intent struct {
	Schema  int       `json:"schema_version"`
	Op      string    `json:"op"`
	Set     string    `json:"set"`
	ID      string    `json:"id"`
	BootID  string    `json:"boot_id"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	// Origins are the keys of the origins' locks: who holds them all knows that
	// the operation is not under way any more.
	Origins []string `json:"origins"`
	// Freezes tells that it may freeze filesystems of the origins.
	Freezes bool `json:"freezes"`
	// Cookie is the semaphore by which udev answers; it outlives us.
	Cookie string `json:"cookie,omitempty"`
	// Bases are the names of the bases it makes or removes.
	Bases []string `json:"bases"`
	// Files are those it makes for stores, or that stores are to go on with, by
	// volume; null for none.
	Files []*plan.File `json:"files,omitempty"`
	// Media are devices that it labels as stores.
	Media []Medium `json:"media,omitempty"`
	// Hooks were called with pre-freeze, and not yet with anything else. HookSet is
	// what hooks get to know about the set.
	Hooks   []string        `json:"hooks,omitempty"`
	HookSet json.RawMessage `json:"hook_set,omitempty"`
	// Unread is why the file could not be read: torn, or of a newer version. Only
	// Op and ID are known then, from its name.
	Unread error `json:"-"`
}

// Begin writes an intent. It must be on disk before the first step.
func (d Dir) Begin(i Intent) error {
	i.Schema = Schema
	return d.save(intentsDir, i.ID+"-"+i.Op+suffix, i)
}

// End forgets an intent: its outcome is on disk, or everything was undone.
//
// The directory is not synced: should a power cut bring the entry back, the next
// command finds that the operation reached its end, and ends it again.
func (d Dir) End(i Intent) error {
	return d.wrap(d.drop(path.Join(d.Path, intentsDir, i.ID+"-"+i.Op+suffix)))
}

// Intents are the operations under way or interrupted, those too whose files
// cannot be read.
func (d Dir) Intents() ([]Intent, error) {
	names, err := d.names(intentsDir)
	var out []Intent
	for _, name := range names {
		var i Intent
		err := d.load(intentsDir, name+suffix, &i)
		if errors.Is(err, fs.ErrNotExist) {
			continue // ended since
		}
		if err != nil {
			cut := max(0, strings.LastIndexByte(name, '-'))
			i = Intent{ID: name[:cut], Op: strings.TrimPrefix(name[cut:], "-"), Unread: err}
		}
		out = append(out, i)
	}
	return out, err
}

// Existing is Intents for those who must know: a missing journal is an error.
func (d Dir) Existing() ([]Intent, error) {
	if _, err := d.Kernel.Stat(path.Join(d.Path, intentsDir)); err != nil {
		return nil, err
	}
	return d.Intents()
}

// Again reads an intent once more, under its locks: fs.ErrNotExist if it ended since.
func (d Dir) Again(i Intent) (Intent, error) {
	var now Intent
	err := d.load(intentsDir, i.ID+"-"+i.Op+suffix, &now)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Intent{ID: i.ID, Op: i.Op, Unread: err}, nil
	}
	return now, err
}

// Keys are the locks of the operation. That of the id is known of an intent that
// cannot be read, too.
func (i Intent) Keys() []string {
	keys := []string{SetKey(i.Set), IDKey(i.ID)}
	for _, o := range i.Origins {
		keys = append(keys, OriginKey(o))
	}
	return keys
}
