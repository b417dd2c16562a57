package ioctltest

import "golang.org/x/sys/unix"

// image finds the snapshot that a device-mapper device shows.
func (k *Kernel) image(name string) *snapshot {
	s := imageOf(k.named(name).dev)
	if s == nil {
		panic("ioctltest: " + name + " is no snapshot")
	}
	return s
}

// Fill allocates chunks of a snapshot's store until n are in use, first as
// writes to its origin would, then, when all of the origin is copied, without
// exceptions. Beyond the end of the store the snapshot becomes invalid.
func (k *Kernel) Fill(name string, n uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.image(name)
	for chunk := uint64(0); s.valid && s.store.next < n; chunk++ {
		if _, done := s.store.exceptions[chunk]; done {
			continue
		}
		var err error
		if chunk*s.store.chunk < s.tg.length {
			_, err = s.copyOut(chunk)
		} else if _, ok := s.store.prepare(); !ok {
			err = unix.ENOSPC
		}
		if err != nil {
			s.invalidate()
		}
	}
}

// Invalidate makes a snapshot invalid, as a store that is full or broken does.
func (k *Kernel) Invalidate(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.image(name).invalidate()
}

// Overflow puts a snapshot with a PO store into the state of a refused write.
func (k *Kernel) Overflow(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.image(name).overflowed = true
}

// OldExceptions tells whether the snapshot found a header in its store when
// its table was loaded: a store that was not wiped.
func (k *Kernel) OldExceptions(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.image(name).loadedOld
}

// CutClean tells whether every writable filesystem above the origin was frozen
// when the snapshot was first resumed.
func (k *Kernel) CutClean(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.image(name).cutClean()
}
