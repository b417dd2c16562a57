package targets

import (
	"strconv"
	"strings"
)

// EraStatus is the status line of an era target. Never ask a suspended one:
// the caller hangs until it is resumed.
type EraStatus struct {
	Failed      bool    // the metadata cannot be read; the rest is then zero
	BlockSize   Sectors // of the metadata: 8
	Used, Total uint64  // metadata blocks
	Era         uint32  // current era; 1 after the first resume
	Snap        uint64  // metadata block of the metadata snapshot, 0 if none
}

// String is the status line as the kernel prints it.
func (s EraStatus) String() string {
	if s.Failed {
		return "Error"
	}
	snap := "-"
	if s.Snap != 0 {
		snap = strconv.FormatUint(s.Snap, 10)
	}
	return s.BlockSize.String() + " " + strconv.FormatUint(s.Used, 10) + "/" + strconv.FormatUint(s.Total, 10) +
		" " + strconv.FormatUint(uint64(s.Era), 10) + " " + snap
}

// ParseEraStatus reads "8 <used>/<total> <era> <snap block or ->" or "Error".
// The error is a [*ParseError].
func ParseEraStatus(text string) (EraStatus, error) {
	if strings.TrimSpace(text) == "Error" {
		return EraStatus{Failed: true}, nil
	}
	r := newReader("era status", text)
	s := EraStatus{BlockSize: r.sectors("block size")}
	used, total := r.ratio("usage")
	s.Used, s.Total = uint64(used), uint64(total)
	s.Era = uint32(r.number("era", 32))
	s.Snap = r.snap()
	if err := r.end(); err != nil {
		return EraStatus{}, err
	}
	return s, nil
}

// snap reads "-" or a block number; block 0 is the superblock, never a snap.
func (r *reader) snap() uint64 {
	text := r.word("metadata snapshot")
	if r.err != nil || text == "-" {
		return 0
	}
	n, err := parseUint(text, 64)
	if err != nil || n == 0 {
		r.fail("metadata snapshot", text, "want a block number or -")
	}
	return n
}
