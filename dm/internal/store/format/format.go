// Package format reads a persistent exception store as the kernel keeps it on
// disk (drivers/md/dm-snap-persistent.c; the same in Linux 6.1 to 7.2). All
// numbers are little-endian; the unit of addresses is the chunk.
//
//	chunk 0         header: magic, valid, version, chunk size in sectors
//	chunk 1         area 0: one record for each chunk that was copied
//	chunks 2...     as many data chunks as an area has records
//	then            area 1, its data chunks, and so on
//
// The first record whose new chunk is 0 ends everything. An area without one is
// full, and the next follows.
//
// The kernel bypasses the page cache: a store in use must be read with direct reads.
package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	magic        = 0x70416e53 // "SnAp"
	diskVersion  = 1
	sector       = 512
	maxChunk     = 1 << 21 // sectors
	recordBytes  = 16      // struct disk_exception
	headerChunks = 1
	// headerBytes is a whole number of sectors on every device.
	headerBytes = 4096
	// pieceBytes bounds what is read at once: an area can be as large as 1 GiB.
	pieceBytes = 64 << 10
)

// Why a store is not read. DamagedError has the details of damage.
var (
	// ErrNew is a store without a header: nothing was ever kept on it.
	ErrNew = errors.New("this store has never held a snapshot")
	// ErrForeign is a device that holds something else.
	ErrForeign = errors.New("not an exception store")
	// ErrVersion is a format the kernel would refuse too.
	ErrVersion = errors.New("unknown version of the exception store")
)

// DamagedError is a header or a record that cannot be right.
type DamagedError struct {
	Offset int64 // of the header or record, in bytes
	Why    string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("exception store is damaged at byte %d: %s", e.Offset, e.Why)
}

// Header is what the first chunk says.
type Header struct {
	// Valid is false once the kernel gave the snapshot up: the store overflowed or
	// failed, and its image must not be used.
	Valid bool
	// Chunk is the unit of copying, in bytes.
	Chunk uint64
}

// Exception is one copied chunk: number Old of the origin lies in number New of
// the store.
type Exception struct{ Old, New uint64 }

// Usage is a store's accounting, as the kernel's status line has it.
type Usage struct {
	Exceptions uint64
	Used       uint64 // bytes, metadata included
	Metadata   uint64 // bytes: header and areas
}

// Store is one store to be read.
type Store struct {
	Header
	r    io.ReaderAt
	size int64
}

// Open reads the header. size is all there is to read, in bytes. All reads begin
// at a multiple of the chunk or of 64 KiB within it, and have lengths of that
// kind, so that r may read directly. Errors: ErrNew, ErrForeign, ErrVersion, a
// *DamagedError, those of r.
func Open(r io.ReaderAt, size int64) (*Store, error) {
	b := make([]byte, min(headerBytes, max(size, 0)))
	if len(b) < sector {
		return nil, &DamagedError{0, "no room for a header"}
	}
	if err := readFull(r, b, 0); err != nil {
		return nil, err
	}
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	chunk := uint64(word(3))
	switch {
	case word(0) == 0:
		return nil, ErrNew
	case word(0) != magic:
		return nil, ErrForeign
	case word(2) != diskVersion:
		return nil, fmt.Errorf("%w: %d", ErrVersion, word(2))
	case chunk == 0 || chunk&(chunk-1) != 0 || chunk > maxChunk:
		return nil, &DamagedError{0, fmt.Sprintf("a chunk of %d sectors", chunk)}
	}
	return &Store{Header: Header{Valid: word(1) != 0, Chunk: chunk * sector}, r: r, size: size}, nil
}

// perArea is the number of records of one area.
func (s *Store) perArea() uint64 { return s.Chunk / recordBytes }

// area is where an area begins, in bytes; false if it lies beyond the end.
func (s *Store) area(n uint64) (at int64, ok bool) {
	chunk := headerChunks + n*(s.perArea()+1)
	ok = chunk < uint64(s.size)/s.Chunk
	return int64(chunk * s.Chunk), ok
}

// check refuses what the kernel never writes: it gives no place twice its
// meaning and none beyond the end.
func (s *Store) check(e Exception, at int64) error {
	switch {
	case e.New >= uint64(s.size)/s.Chunk:
		return &DamagedError{at, fmt.Sprintf("chunk %d lies beyond the end", e.New)}
	case e.New%(s.perArea()+1) == headerChunks:
		return &DamagedError{at, fmt.Sprintf("chunk %d is an area, not data", e.New)}
	}
	return nil
}

func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	switch {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return err
}
