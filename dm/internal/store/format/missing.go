package format

import (
	"iter"
	"math/bits"
)

// Chunks is a set of chunks of an origin, in one unit of copying.
type Chunks struct {
	words []uint64
	count uint64
}

// Len is how many there are.
func (c *Chunks) Len() uint64 { return c.count }

// All gives their numbers in order.
func (c *Chunks) All() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for i, word := range c.words {
			for ; word != 0; word &= word - 1 {
				if !yield(uint64(i)*64 + uint64(bits.TrailingZeros64(word))) {
					return
				}
			}
		}
	}
}

func (c *Chunks) place(n uint64) (word *uint64, bit uint64) {
	for uint64(len(c.words)) <= n/64 {
		c.words = append(c.words, make([]uint64, max(1, len(c.words)))...)
	}
	return &c.words[n/64], 1 << (n % 64)
}

func (c *Chunks) add(n uint64) {
	if word, bit := c.place(n); *word&bit == 0 {
		*word |= bit
		c.count++
	}
}

func (c *Chunks) drop(n uint64) {
	if word, bit := c.place(n); *word&bit != 0 {
		*word &^= bit
		c.count--
	}
}

// Missing are the chunks that an older store does not have and a newer one holds a
// part of, or more: in the older store's unit, of an origin of size bytes. known is
// how much of the older store is in use as the kernel says, in bytes: it writes
// over records of chunks beyond.
func Missing(older, newer *Store, size, known uint64) (*Chunks, error) {
	missing := &Chunks{}
	for e, err := range newer.Exceptions() {
		if err != nil {
			return nil, err
		}
		end := min((e.Old+1)*newer.Chunk, size)
		for at := e.Old * newer.Chunk; at < end; at = (at/older.Chunk + 1) * older.Chunk {
			missing.add(at / older.Chunk)
		}
	}
	for e, err := range older.Exceptions() {
		if err != nil {
			return nil, err
		}
		if (e.New+1)*older.Chunk <= known {
			missing.drop(e.Old)
		}
	}
	return missing, nil
}

// With is the size in bytes that a store needs to take n more chunks, if used is in
// use. The area after a full one is zeroed when that fills: there must be room for
// it too.
func (s *Store) With(used, n uint64) uint64 {
	if n == 0 {
		return used
	}
	return used + (n+n/s.perArea()+2)*s.Chunk
}
