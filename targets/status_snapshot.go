package targets

import "strings"

// SnapshotState is what a snapshot or merge target says of itself.
type SnapshotState uint8

const (
	// Unknown is the kernel's own word: the store type does not tell its usage.
	Unknown SnapshotState = iota
	// Active: serving. Only then are the figures set.
	Active
	// Invalid: the store is full or failed; every access of the snapshot is EIO.
	// The origin is not harmed.
	Invalid
	// Overflow: the store of a PersistentOverflow snapshot is full. It reads
	// well, every write to it is EIO, until it is removed and created anew. No
	// event announces it.
	Overflow
	// MergeFailed: an I/O error stopped the merge. No event announces it.
	MergeFailed
)

// String is the kernel's word, "Active" for a line of figures.
func (s SnapshotState) String() string {
	switch s {
	case Active:
		return "Active"
	case Invalid:
		return "Invalid"
	case Overflow:
		return "Overflow"
	case MergeFailed:
		return "Merge failed"
	}
	return "Unknown"
}

// SnapshotStatus is the status line of a snapshot or snapshot-merge target.
type SnapshotStatus struct {
	State    SnapshotState
	Used     Sectors // of the store, metadata included
	Total    Sectors // size of the store, read live
	Metadata Sectors // part of Used; always 0 for a Transient store
}

// Data is how much of the store old chunks use, in sectors.
func (s SnapshotStatus) Data() Sectors { return s.Used - min(s.Used, s.Metadata) }

// Merged says of a snapshot-merge target that nothing is left to merge. No
// event announces it.
func (s SnapshotStatus) Merged() bool { return s.State == Active && s.Used == s.Metadata }

// String is the status line as the kernel prints it.
func (s SnapshotStatus) String() string {
	if s.State != Active {
		return s.State.String()
	}
	return s.Used.String() + "/" + s.Total.String() + " " + s.Metadata.String()
}

// ParseSnapshotStatus reads the status line of a snapshot or snapshot-merge
// target: "<used>/<total> <metadata>" in sectors, or one of the words Invalid,
// Overflow, Merge failed, Unknown. The error is a [*ParseError].
func ParseSnapshotStatus(text string) (SnapshotStatus, error) {
	line := strings.TrimSpace(text)
	for _, s := range []SnapshotState{Unknown, Invalid, Overflow, MergeFailed} {
		if line == s.String() {
			return SnapshotStatus{State: s}, nil
		}
	}
	r := newReader("snapshot status", line)
	used, total := r.ratio("usage")
	s := SnapshotStatus{State: Active, Used: used, Total: total, Metadata: r.sectors("metadata")}
	if err := r.end(); err != nil {
		return SnapshotStatus{}, err
	}
	return s, nil
}

// ratio reads "<a>/<b>".
func (r *reader) ratio(field string) (a, b Sectors) {
	text := r.word(field)
	left, right, ok := strings.Cut(text, "/")
	if r.err == nil && !ok {
		r.fail(field, text, "not of the form used/total")
	}
	if r.err != nil {
		return 0, 0
	}
	a, err := parseSectors(left)
	if err != nil {
		r.fail(field, text, err.Error())
	}
	if b, err = parseSectors(right); err != nil {
		r.fail(field, text, err.Error())
	}
	return a, b
}

// ParseOriginStatus reads the status line of a snapshot-origin target, which
// is always empty.
func ParseOriginStatus(text string) error {
	return newReader("snapshot-origin status", text).end()
}
