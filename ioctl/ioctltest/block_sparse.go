package ioctltest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
)

const pageSize = 4096

// sparse holds bytes by page; absent pages and pages of zeros are the same.
type sparse struct{ pages map[int64]*[pageSize]byte }

func newSparse() *sparse { return &sparse{pages: map[int64]*[pageSize]byte{}} }

func (s *sparse) read(off int64, b []byte) {
	for len(b) > 0 {
		page, at := off/pageSize, off%pageSize
		n := min(int64(len(b)), pageSize-at)
		if p := s.pages[page]; p != nil {
			copy(b[:n], p[at:])
		} else {
			clear(b[:n])
		}
		b, off = b[n:], off+n
	}
}

func (s *sparse) write(off int64, b []byte) {
	for len(b) > 0 {
		page, at := off/pageSize, off%pageSize
		n := min(int64(len(b)), pageSize-at)
		p := s.pages[page]
		if p == nil && !isZero(b[:n]) {
			p = new([pageSize]byte)
			s.pages[page] = p
		}
		if p != nil {
			copy(p[at:], b[:n])
			if isZero(p[:]) {
				delete(s.pages, page)
			}
		}
		b, off = b[n:], off+n
	}
}

// truncate forgets everything from size on.
func (s *sparse) truncate(size int64) {
	last := size / pageSize
	for page, p := range s.pages {
		switch {
		case page > last || page == last && size%pageSize == 0:
			delete(s.pages, page)
		case page == last:
			clear(p[size%pageSize:])
		}
	}
}

// hash names the contents; equal bytes give equal hashes.
func (s *sparse) hash() string {
	if len(s.pages) == 0 {
		return "zero"
	}
	h := sha256.New()
	for _, page := range slices.Sorted(maps.Keys(s.pages)) {
		var at [8]byte
		binary.BigEndian.PutUint64(at[:], uint64(page))
		h.Write(at[:])
		h.Write(s.pages[page][:])
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func isZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1]) // every byte is the one before it
}
