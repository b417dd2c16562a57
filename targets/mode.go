package targets

// Mode says where a snapshot keeps its exceptions and what happens when its
// store is full. The zero Mode is none.
type Mode uint8

const (
	// Transient ("N") keeps the exception table in memory only: the snapshot
	// dies with a reboot or a reload.
	Transient Mode = iota + 1
	// Persistent ("P") writes the exception table to the store.
	Persistent
	// PersistentOverflow ("PO") is Persistent, but a write to the snapshot that
	// does not fit gives the state Overflow instead of Invalid. Kernel 4.4,
	// target version 1.15.
	PersistentOverflow
)

// String is the kernel's word for the mode, "?" for none.
func (m Mode) String() string {
	switch m {
	case Transient:
		return "N"
	case Persistent:
		return "P"
	case PersistentOverflow:
		return "PO"
	}
	return "?"
}

// ParseMode reads "N", "P" or "PO".
func ParseMode(text string) (Mode, error) {
	for m := Transient; m <= PersistentOverflow; m++ {
		if m.String() == text {
			return m, nil
		}
	}
	return 0, &ParseError{Kind: "snapshot mode", Text: text, Reason: "want N, P or PO"}
}

func (r *reader) mode() Mode {
	text := r.word("mode")
	if r.err != nil {
		return 0
	}
	m, err := ParseMode(text)
	if err != nil {
		r.fail("mode", text, "want N, P or PO")
	}
	return m
}
