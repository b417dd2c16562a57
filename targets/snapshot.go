package targets

import (
	"slices"
	"strconv"
	"strings"
)

// MaxChunk is the kernel's largest chunk, in sectors (1 GiB).
const MaxChunk Sectors = 1 << 21

// The features a snapshot can have. Building one with them needs thought:
// discard_zeroes_cow makes Linux 7.2 divide by zero when the chunk is smaller
// than 512 sectors.
const (
	FeatureDiscardZeroes   = "discard_zeroes_cow"
	FeatureDiscardPassdown = "discard_passdown_origin" // needs FeatureDiscardZeroes
)

// Snapshot shows Origin as it was when the snapshot was resumed; the chunks
// that changed since are in Store. It ignores the start of its row: one row at
// sector 0. Origin must be the very block device that the snapshot-origin
// target maps, never that target's own device.
type Snapshot struct {
	Origin   Device
	Store    Device
	Mode     Mode
	Chunk    Sectors // 0 in a table read back while a handover is pending
	Features []string
}

// Type is "snapshot".
func (Snapshot) Type() string { return "snapshot" }

// Params is "<origin> <store> <mode> <chunk> [<n> <feature>...]".
func (s Snapshot) Params() string {
	words := []string{s.Origin.arg(), s.Store.arg(), s.Mode.String(), s.Chunk.String()}
	if n := len(s.Features); n > 0 {
		words = append(words, strconv.Itoa(n))
	}
	for _, f := range s.Features {
		words = append(words, escape(f))
	}
	return strings.Join(words, " ")
}

// Devices are the origin and the store.
func (s Snapshot) Devices() []Device { return []Device{s.Origin, s.Store} }

// Has says whether the snapshot has a feature.
func (s Snapshot) Has(feature string) bool { return slices.Contains(s.Features, feature) }

// Validate says whether the target may be loaded: a mode, a chunk size that is
// a power of two up to MaxChunk, known features in a valid combination.
func (s Snapshot) Validate() error { return s.validate(s.Type()) }

func (s Snapshot) validate(kind string) error {
	if reason := s.fault(); reason != "" {
		return &InvalidError{Kind: kind, Reason: reason}
	}
	return validateDevices(s.Origin, s.Store)
}

func (s Snapshot) fault() string {
	if s.Mode < Transient || s.Mode > PersistentOverflow {
		return "no mode"
	}
	if err := ValidateChunk(s.Chunk); err != nil {
		return err.Error()
	}
	for i, f := range s.Features {
		if f != FeatureDiscardZeroes && f != FeatureDiscardPassdown {
			return "unknown feature " + strconv.Quote(f)
		}
		if slices.Contains(s.Features[:i], f) {
			return "feature " + f + " twice"
		}
	}
	if s.Has(FeatureDiscardPassdown) && !s.Has(FeatureDiscardZeroes) {
		return FeatureDiscardPassdown + " needs " + FeatureDiscardZeroes
	}
	return ""
}

// ValidateChunk checks a chunk size: a power of two, 1 to MaxChunk sectors. It
// must also be a multiple of both devices' logical block size, which only the
// caller knows.
func ValidateChunk(chunk Sectors) error {
	if chunk == 0 || chunk&(chunk-1) != 0 || chunk > MaxChunk {
		return &InvalidError{
			Kind:   "chunk size",
			Reason: chunk.String() + " sectors is no power of two from 1 to " + MaxChunk.String(),
		}
	}
	return nil
}

func parseSnapshot(kind, params string) (Snapshot, error) {
	r := newReader(kind, params)
	s := Snapshot{
		Origin: r.device("origin"),
		Store:  r.device("store"),
		Mode:   r.mode(),
		Chunk:  r.sectors("chunk size"),
	}
	if !r.more() {
		return s, r.end()
	}
	n := r.number("feature count", 8)
	for i := uint64(0); i < n && r.err == nil; i++ {
		s.Features = append(s.Features, r.word("feature"))
	}
	return s, r.end()
}
