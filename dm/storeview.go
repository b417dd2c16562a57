package dm

import (
	"slices"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/dm/internal/store/format"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

func (v *view) store(vol *Volume, d stack.Device) {
	vol.Store.SizeBytes, vol.Store.Spill = d.Table.Size().Bytes(), v.from.remains.Spill(d)
	if vol.Store.Kind == "" {
		v.guessStore(&vol.Store, d)
	}
}

// guessStore tells from the kernel's tables what a store is whose record is lost.
func (v *view) guessStore(to *Store, d stack.Device) {
	files, err := v.from.remains.LostFiles(d, v.View)
	if err == nil && len(files) > 0 {
		to.Kind, to.Path = StoreFile, files[0].Path
		for _, f := range files[1:] {
			to.Files = append(to.Files, f.Path)
		}
		return
	}
	lower, ok := d.Lower()
	if !ok {
		return
	}
	if name, err := v.from.read.LoopFile(lower); err == nil && name != "" {
		to.Kind = StoreRAM
		return
	}
	to.Kind, to.Path = StoreDevice, v.from.read.Node(lower)
}

// noteDamage notes that a store's files were changed. The image may be
// wrong then, or what is written to the origin may hit another file.
func (v *view) noteDamage(vol *Volume, id string, i int, files []*plan.File) {
	d := v.Member(id, i, plan.RoleStore)
	if d == nil || !d.Info.Live || vol.State != StateActive {
		return
	}
	for _, file := range files {
		if file.Path == "" {
			continue
		}
		what, err := store.Damage(v.from.read, file, d.Table, v.View)
		if err != nil {
			v.from.log.Warn("the file of a store cannot be inspected", "path", file.Path, "error", err)
		}
		if what != "" {
			vol.State, vol.Reason = StateBroken, what
			return
		}
	}
}

// setFillRate computes how fast the store filled since the cut, and when it is full at
// that rate.
func (s *Store) setFillRate(since time.Time) {
	took := uint64(time.Since(since) / time.Second)
	if s.UsedBytes == nil || took == 0 {
		return
	}
	rate := Rate(*s.UsedBytes / took)
	s.FillRate = &rate
	if rate > 0 {
		s.FullIn = rate.takes(s.SizeBytes - min(s.SizeBytes, *s.UsedBytes))
	}
}

// readStore counts what a persistent store holds on its medium.
func readStore(k *ioctl.Kernel, to *Store, dev targets.DevNo) error {
	return store.Read(k, dev, func(on *format.Store) error {
		u, err := on.Usage()
		if err == nil {
			to.UsedBytes, to.MetadataBytes = &u.Used, &u.Metadata
		}
		return err
	})
}

// setPin tells whether the kernel keeps a store's files and their filesystem where
// they are.
func (v *view) setPin(vol *Volume, id string, i int, files []*plan.File) {
	d := v.Member(id, i, plan.RoleStore)
	if d == nil || !d.Info.Live || len(files) == 0 || files[0].Path == "" {
		return
	}
	loose := func(f *plan.File) bool { return f.Backing != plan.Loop && !v.pins[plan.OwnerOf(f.Path, id, i)] }
	held := !slices.ContainsFunc(files, loose)
	vol.Store.Pinned = &held
}
