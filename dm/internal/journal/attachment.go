package journal

import (
	"errors"
	"io/fs"
	"time"
)

// Attachment records that a plain device was attached by a request of its own, not by a
// create: it stays attached when its last set is removed.
type Attachment struct {
	Schema int       `json:"schema_version"`
	Base   string    `json:"base"`
	ID     string    `json:"id"` // of the base
	Since  time.Time `json:"since"`
}

// Attach writes the record; it is the outcome of an attach.
func (d Dir) Attach(a Attachment) error {
	a.Schema = Schema
	return d.save(attachedDir, a.Base+suffix, a)
}

// Attached reads the record of a base; fs.ErrNotExist if there is none.
func (d Dir) Attached(base string) (Attachment, error) {
	var a Attachment
	err := d.load(attachedDir, base+suffix, &a)
	return a, err
}

// Detach removes the record of the base with that name and id. None is no error,
// nor one of another base, which stays.
func (d Dir) Detach(base, id string) error {
	a, err := d.Attached(base)
	return d.dropFor(attachedDir, base+suffix, id, a.ID, err)
}

// Attachments are the names of the bases that have a record.
func (d Dir) Attachments() ([]string, error) { return d.names(attachedDir) }

// IsAttached reports whether the base with that name and id was made by attach, so
// that it outlives its last set.
func (d Dir) IsAttached(base, id string) (bool, error) {
	a, err := d.Attached(base)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && a.ID == id, err
}
