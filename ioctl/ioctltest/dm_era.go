package ioctltest

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// eraState is what dm-era keeps on its metadata device. The on-disk format is
// not modelled.
type eraState struct {
	block   uint64
	current uint32
	snap    bool
	written map[uint64]uint32 // block to the era of its last write
}

// era is an era target.
type era struct {
	k     *Kernel
	tg    *target
	meta  *device
	d     *device
	state *eraState
}

const minEraBlock = 8

func makeEra(k *Kernel, tg *target, args []string) (mapping, error) {
	if len(args) != 3 {
		return nil, unix.EINVAL
	}
	meta, err := k.hold(tg.table, args[0], false)
	if err != nil {
		return nil, err
	}
	d, err := k.hold(tg.table, args[1], false)
	if err != nil {
		return nil, err
	}
	block, ok := parseUint(args[2])
	if !ok || block == 0 || block%minEraBlock != 0 {
		return nil, unix.EINVAL
	}
	if err := k.eraLoadable(meta); err != nil {
		return nil, err
	}
	st, err := k.eraMetadata(meta, block)
	if err != nil {
		return nil, err
	}
	return &era{k, tg, meta, d, st}, nil
}

// eraLoadable refuses the load that loses marks: a new table while the old
// one is running on the same metadata.
func (k *Kernel) eraLoadable(meta *device) error {
	for _, md := range k.mapped {
		if md.live == nil || md.suspended {
			continue
		}
		for _, t := range md.live.targets {
			if e, ok := t.impl.(*era); ok && e.meta == meta {
				return k.hang("load of an era table while %s is running: marks are lost", md.name)
			}
		}
	}
	return nil
}

// eraMetadata formats a metadata device whose first block is zero.
func (k *Kernel) eraMetadata(meta *device, block uint64) (*eraState, error) {
	head := make([]byte, pageSize)
	if err := k.read(meta, 0, head); err != nil {
		return nil, err
	}
	st := k.eras[meta.no]
	if isZero(head) {
		copy(head[32:], []byte{0x7b, 0x07, 0xc1, 0x7e}) // the superblock's magic
		if err := k.write(meta, 0, head); err != nil {
			return nil, err
		}
		st = nil
	}
	if st == nil {
		st = &eraState{block: block, written: map[uint64]uint32{}}
		k.eras[meta.no] = st
	}
	if st.block != block {
		return nil, unix.EINVAL
	}
	return st, nil
}

func (e *era) line() string {
	return fmt.Sprintf("%s %s %d", devText(e.meta.no), devText(e.d.no), e.state.block)
}

func (e *era) status() string {
	snap := "-"
	if e.state.snap {
		snap = "12"
	}
	return fmt.Sprintf("8 16/%d %d %s", e.meta.size()/minEraBlock, e.state.current, snap)
}

func (e *era) areas() []area { return []area{{e.d, 0, e.tg.length}} }
func (e *era) resume()       { e.state.current++ }

func (e *era) message(args []string) error {
	if e.tg.table.md.suspended {
		return e.k.hang("message to the suspended era device %s", e.tg.table.md.name)
	}
	if len(args) != 1 {
		return unix.EINVAL
	}
	switch args[0] {
	case "checkpoint":
	case "take_metadata_snap":
		if e.state.snap {
			return unix.EINVAL
		}
		e.state.snap = true
	case "drop_metadata_snap":
		if !e.state.snap {
			return unix.EINVAL
		}
		e.state.snap = false
		return nil
	default:
		return unix.EINVAL
	}
	e.state.current++
	return nil
}

func (e *era) io(off uint64, b []byte, write bool) error {
	if write {
		for at := off / sectorSize / e.state.block; at <= (off+uint64(len(b))-1)/sectorSize/e.state.block; at++ {
			e.state.written[at] = e.state.current
		}
	}
	return e.k.transfer(e.d, off-e.tg.start*sectorSize, b, write)
}

// EraWritten returns the era of the last write to a block, 0 for never, of
// the era device with that metadata device.
func (k *Kernel) EraWritten(meta ioctl.DevNo, block uint64) uint32 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if st := k.eras[meta]; st != nil {
		return st.written[block]
	}
	return 0
}
