package ioctl

import "strings"

// Spec is one line of a table: a range of the device and what serves it.
type Spec struct {
	Start  uint64 // first sector; sectors have 512 bytes
	Length uint64 // sectors
	Type   string // name of the target, at most 15 bytes: "linear", "snapshot"
	Params string // the target's own text; in a status reply, its status line
	Status int32  // always 0 on kernels so far
}

func (s *Spec) check() error {
	if s.Type == "" || len(s.Type) >= typeSize || strings.IndexByte(s.Type, 0) >= 0 {
		return ErrBadSpec
	}
	if strings.IndexByte(s.Params, 0) >= 0 {
		return ErrBadSpec
	}
	return nil
}

// encodeSpecs encodes a table for TABLE_LOAD: struct dm_target_spec (sector_start
// 0, length 8, status 16, next 20, target_type 24) and text, again and again. In
// a load, next counts from its own record; the last one's is not looked at.
func encodeSpecs(specs []Spec) ([]byte, error) {
	total := 0
	for i := range specs {
		if err := specs[i].check(); err != nil {
			return nil, err
		}
		total += specs[i].size()
	}
	table := make([]byte, total) // in one piece: no copy of a secret is left behind
	b := table
	for i := range specs {
		s := &specs[i]
		native.PutUint64(b[0:], s.Start)
		native.PutUint64(b[8:], s.Length)
		if i < len(specs)-1 {
			native.PutUint32(b[20:], uint32(s.size()))
		}
		copy(b[24:24+typeSize-1], s.Type)
		copy(b[specSize:], s.Params)
		b = b[s.size():]
	}
	return table, nil
}

// size is what the target takes up in a table.
func (s *Spec) size() int { return padded(specSize + len(s.Params) + 1) }

// parseSpecs decodes count records of a TABLE_STATUS or DEV_WAIT reply, where next
// counts from the first record.
func parseSpecs(b []byte, count uint32) ([]Spec, error) {
	if uint64(count)*specSize > uint64(len(b)) {
		return nil, ErrBadReply
	}
	specs := make([]Spec, 0, count)
	at := 0
	for i := range count {
		if len(b)-at < specSize {
			return nil, ErrBadReply
		}
		rec := b[at:]
		params, length, err := text(rec[specSize:])
		if err != nil {
			return nil, err
		}
		specs = append(specs, Spec{
			Start:  native.Uint64(rec),
			Length: native.Uint64(rec[8:]),
			Status: int32(native.Uint32(rec[16:])),
			Type:   field(rec[24:specSize]),
			Params: params,
		})
		next := uint64(native.Uint32(rec[20:]))
		if i == count-1 {
			break
		}
		if next < uint64(at+specSize+length+1) || next > uint64(len(b)) {
			return nil, ErrBadReply
		}
		at = int(next)
	}
	return specs, nil
}
