package format

import (
	"encoding/binary"
	"fmt"
	"iter"
)

// Exceptions gives all records in their order on disk, and ends after the first
// error. A store in use may grow meanwhile; records that were there at the start
// are all seen.
func (s *Store) Exceptions() iter.Seq2[Exception, error] {
	return func(yield func(Exception, error) bool) {
		_, err := s.walk(func(e Exception) bool { return yield(e, nil) })
		if err != nil {
			yield(Exception{}, err)
		}
	}
}

// Usage counts as the kernel does when it loads the store (read_exceptions,
// persistent_usage): used is all up to the last chunk that a record names, holes
// included. What the kernel has given out but not committed yet is not seen.
func (s *Store) Usage() (Usage, error) {
	var u Usage
	nextFree := uint64(headerChunks + 1)
	areas, err := s.walk(func(e Exception) bool {
		u.Exceptions++
		nextFree = max(nextFree, e.New+1)
		return true
	})
	if err != nil {
		return Usage{}, err
	}
	if nextFree%(s.perArea()+1) == headerChunks {
		nextFree++ // an area comes next, which is no data
	}
	u.Used, u.Metadata = nextFree*s.Chunk, (headerChunks+areas)*s.Chunk
	return u, nil
}

// walk calls see for each record until it says no, and counts the areas.
func (s *Store) walk(see func(Exception) bool) (areas uint64, err error) {
	buf := make([]byte, min(pieceBytes, s.Chunk))
	for full := true; full; areas++ {
		start, ok := s.area(areas)
		if !ok {
			return areas, &DamagedError{start, fmt.Sprintf("area %d lies beyond the end", areas)}
		}
		for piece := uint64(0); full && piece < s.Chunk; piece += uint64(len(buf)) {
			if full, err = s.piece(buf, start+int64(piece), see); err != nil {
				return areas, err
			}
		}
	}
	return areas, nil
}

// piece reads one part of an area; full tells that no record in it was the last.
func (s *Store) piece(buf []byte, at int64, see func(Exception) bool) (full bool, err error) {
	if err := readFull(s.r, buf, at); err != nil {
		return false, err
	}
	for i := 0; i < len(buf); i += recordBytes {
		e := Exception{binary.LittleEndian.Uint64(buf[i:]), binary.LittleEndian.Uint64(buf[i+8:])}
		if e.New == 0 {
			return false, nil
		}
		if err := s.check(e, at+int64(i)); err != nil {
			return false, err
		}
		if !see(e) {
			return false, nil
		}
	}
	return true, nil
}
