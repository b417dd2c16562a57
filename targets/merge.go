package targets

// Merge is snapshot-merge: it stands in for the origin and copies the chunks
// of Store back onto it. Same arguments as Snapshot; one converts into the
// other. Never build one that is Transient without a live snapshot to take over
// from: Linux 6.1 and 6.12 dereference NULL at resume.
type Merge Snapshot

// Type is "snapshot-merge".
func (Merge) Type() string { return "snapshot-merge" }

// Params is as for Snapshot.
func (m Merge) Params() string { return Snapshot(m).Params() }

// Devices are the origin and the store.
func (m Merge) Devices() []Device { return Snapshot(m).Devices() }

// Validate is as for Snapshot.
func (m Merge) Validate() error { return Snapshot(m).validate(m.Type()) }
