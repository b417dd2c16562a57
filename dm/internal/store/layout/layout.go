// Package layout describes the medium of a store, which is a device, a file or memory. It
// is pure; docs/store-layout.md is its specification.
//
//	lead, 1 MiB | area: what the kernel's snapshot writes | tail, at least 1 MiB
//
// The kernel copies chunks of the origin, and the origin's superblock is often among the
// first. Lead and tail keep chunks out of the places where tools look for signatures, so
// that a store is never taken for its origin.
package layout

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
)

// Sizes in bytes. No signature known to blkid begins further from either end of a
// device than Lead and Tail reach: btrfs has its first at 64 KiB, ZFS its labels
// in the first and last 512 KiB, md its superblock in the last 128 KiB, GPT its
// second table in the last 34 sectors.
const (
	Lead  = 1 << 20
	Tail  = 1 << 20
	Align = 4096
)

// Where the parts of a lead and of a tail begin, in bytes from its beginning. All
// but the label are zero for the time being.
const (
	LabelAt   = 0
	SealAt    = 1 * Align // two of them, of one block each, written in turn
	CounterAt = 3 * Align
	RecordAt  = 64 << 10
	RecordLen = 512 << 10
)

// Kind is what the medium is.
type Kind uint32

// The kinds of media.
const (
	Device Kind = iota + 1 // a block device
	Mapped                 // a file whose blocks the store's table maps
	Looped                 // a file behind a loop device
	Memory
)

// Copy tells a lead's label from a tail's.
type Copy uint32

// The two copies of a label.
const (
	InLead Copy = iota + 1
	InTail
)

// Label says whose a medium is.
type Label struct {
	ID         string // of the set: 32 hexadecimal digits
	Set        string // its name
	Volume     uint32 // its number in the set
	VolumeName string
	// Piece counts the media of one store, from 0.
	Piece      uint32
	Kind       Kind
	Persistent bool
	// Medium is the size of the whole in bytes.
	Medium uint64
}

const (
	magic   = "dmsnapST"
	version = 1
	nameLen = 128
)

// The fields of a label, little endian, as they lie on the medium. It fills one
// block; what is left of that is zero.
type block struct {
	Magic    [8]byte
	Version  uint32
	Checksum uint32 // CRC-32C of the block, with zero here
	ID       [16]byte
	Volume   uint32
	Piece    uint32
	Kind     Kind
	Copy     Copy
	Flags    uint32
	_        uint32
	Medium   uint64
	Lead     uint64 // size; the area begins there
	Area     uint64 // size
	TailAt   uint64
	Tail     uint64 // size
	_        [16]byte
	Set      [nameLen]byte
	Name     [nameLen]byte // of the volume
}

const (
	flagPersistent = 1
	checksumAt     = 12
)

// What Decode cannot read.
var (
	ErrNone    = errors.New("no store label")
	ErrDamaged = errors.New("the store label is damaged")
	ErrVersion = errors.New("the store label was written by another version of dmsnap")
	errSmall   = errors.New("too small for a store")
	errName    = errors.New("does not fit into a store label")
)

// TailAt is where the tail of a medium begins: its last MiB, and what is left of
// the block before it.
func TailAt(medium uint64) (uint64, error) {
	if medium < Lead+Tail+Align {
		return 0, fmt.Errorf("%d bytes: %w", medium, errSmall)
	}
	return (medium - Tail) / Align * Align, nil
}

// Area is how much of a medium the kernel may write to; 0 if it is too small.
func Area(medium uint64) uint64 {
	at, err := TailAt(medium)
	if err != nil {
		return 0
	}
	return at - Lead
}

// Medium is the size of a medium for an area of some size, a multiple of Align.
func Medium(area uint64) uint64 { return Lead + area + Tail }

// Encode is the block of one copy of a label.
func (l Label) Encode(c Copy) ([]byte, error) {
	b := block{
		Version: version, Volume: l.Volume, Piece: l.Piece, Kind: l.Kind, Copy: c,
		Medium: l.Medium, Lead: Lead, Area: Area(l.Medium),
	}
	var err error
	if b.TailAt, err = TailAt(l.Medium); err != nil {
		return nil, err
	}
	b.Tail = l.Medium - b.TailAt
	if l.Persistent {
		b.Flags |= flagPersistent
	}
	copy(b.Magic[:], magic)
	if n, err := hex.Decode(b.ID[:], []byte(short(l.ID))); err != nil || n != len(b.ID) || len(l.ID) != 2*len(b.ID) {
		return nil, fmt.Errorf("id %q %w", l.ID, errName)
	}
	for _, f := range []struct {
		to   *[nameLen]byte
		name string
	}{{&b.Set, l.Set}, {&b.Name, l.VolumeName}} {
		if len(f.name) > nameLen || bytes.ContainsRune([]byte(f.name), 0) {
			return nil, fmt.Errorf("name %q %w", f.name, errName)
		}
		copy(f.to[:], f.name)
	}
	out := make([]byte, Align)
	if _, err := binary.Encode(out, binary.LittleEndian, b); err != nil {
		return nil, err
	}
	binary.LittleEndian.PutUint32(out[checksumAt:], checksum(out))
	return out, nil
}

// short keeps a text from being decoded beyond the room there is.
func short(id string) string { return id[:min(len(id), 32)] }

func checksum(b []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, b[:checksumAt])
	sum = crc32.Update(sum, table, []byte{0, 0, 0, 0})
	return crc32.Update(sum, table, b[checksumAt+4:])
}

// Decode reads one copy of a label from its block. Of a later version, nothing but
// that is believed.
func Decode(b []byte) (l Label, c Copy, err error) {
	if len(b) < Align || string(b[:len(magic)]) != magic {
		return l, 0, ErrNone
	}
	b = b[:Align]
	var raw block
	if _, err := binary.Decode(b, binary.LittleEndian, &raw); err != nil {
		return l, 0, err
	}
	switch {
	case raw.Checksum != checksum(b):
		return l, 0, ErrDamaged
	case raw.Version != version:
		return l, 0, ErrVersion
	}
	l = Label{
		ID: hex.EncodeToString(raw.ID[:]), Set: text(raw.Set), Volume: raw.Volume, VolumeName: text(raw.Name),
		Piece: raw.Piece, Kind: raw.Kind, Persistent: raw.Flags&flagPersistent != 0, Medium: raw.Medium,
	}
	// What the rest of the block says must follow from that.
	again, err := l.Encode(raw.Copy)
	if err != nil || !bytes.Equal(again, b) {
		return Label{}, 0, ErrDamaged
	}
	return l, raw.Copy, nil
}

func text(b [nameLen]byte) string { return string(bytes.TrimRight(b[:], "\x00")) }
