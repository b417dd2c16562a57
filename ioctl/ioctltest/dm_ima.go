package ioctltest

// aliased is what kernels with CONFIG_IMA get wrong about the two descriptions that a
// device keeps of its tables (drivers/md/dm-ima.c, dm_ima_measure_on_table_clear).
type aliased int

const (
	// apart: each slot has a description of its own, or none.
	apart aliased = iota
	// shared: a waiting table was cleared, and since then the empty slot has the live
	// table's. A load ends that, and so does a swap.
	shared
	// freed: the device was renamed meanwhile. The live table has a new description, the
	// slot still the one that was freed; the next load, clear or removal frees it again.
	freed
)

// cleared is after a clear of a slot that had a table.
func (k *Kernel) cleared(md *mapped) {
	k.freeAgain(md, "DM_TABLE_CLEAR")
	if md.live != nil && !k.ver.atLeast(7, 2) {
		md.described = shared
	}
}

// loaded is after a load: that table has a description of its own.
func (k *Kernel) loaded(md *mapped) {
	k.freeAgain(md, "DM_TABLE_LOAD")
	md.described = apart
}

// renamedShared is after a rename, which describes the live table anew.
func (md *mapped) renamedShared() {
	if md.described == shared {
		md.described = freed
	}
}

// freeAgain notes the crash; no real kernel is sure to survive what comes after.
func (k *Kernel) freeAgain(md *mapped, call string) {
	if md.described == freed {
		md.described = apart
		k.hangs = append(k.hangs, call+" "+md.name+": double free: it was renamed while its slot was cleared, and nothing loaded since")
	}
}
