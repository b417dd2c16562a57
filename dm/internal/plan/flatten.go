package plan

import (
	"fmt"

	"github.com/dmsnap/dmsnap/targets"
)

// FlattenRequest is a set that is removed, or a layer, and the snapshots that read
// through it.
type FlattenRequest struct {
	Set, ID string
	Readers []FlattenReader
}

// FlattenReader is a snapshot that reads through a layer. The layer itself reads through
// something newer, so that nothing is copied into it any more.
type FlattenReader struct {
	Layer string        // dm name of the layer's store
	Onto  targets.DevNo // what the layer reads through
	Name  string        // dm name
	Set   string
	Role  Role
	Table targets.Table // live
	// Bytes are to be copied into its store, which has Size and needs With then.
	Bytes, Size, With uint64
}

// Flatten plans how the snapshots that read through a layer become independent of it:
// each gets the chunks that only the layer has, and then reads through what is below the
// layer. A flattening that ends at any point has changed no image: a snapshot that got
// some of the chunks finds the same contents in its own store.
//
// The first load lets the snapshot be written to, and hands over what the kernel
// knows of its store; it is not read again, since the device beneath is the same.
// The last load reads it, and makes the snapshot read-only again.
func Flatten(r FlattenRequest) (*Plan, error) {
	p := &Plan{Op: "fold", Set: r.Set, ID: r.ID, Final: true}
	for _, reader := range r.Readers {
		snap, ok := Older{Table: reader.Table}.snapshot()
		if !ok || !Lasts(snap.Mode) {
			return nil, Refuse(Unsupported, reader.Name, "remove it first", "%s has no persistent store of its own", reader.Name)
		}
		if snap.Chunk < 8 {
			return nil, Refuse(Unsupported, reader.Name, "remove it first", "the chunks of %s are smaller than a memory page", reader.Name)
		}
		if reader.With > reader.Size {
			return nil, Refuse(NoSpace, reader.Name, fmt.Sprintf("dmsnap extend %s %dk", reader.Set, (reader.With+1023)>>10),
				"the store of set %s has %d bytes and needs %d for the data it reads through", reader.Set, reader.Size, reader.With)
		}
		over := snap
		over.Origin = targets.Device{DevNo: reader.Onto}
		step := Step{Phase: Finish, Role: reader.Role, Device: reader.Name, Table: reader.Table}
		open, flatten, skip := step, step, step
		open.Action, flatten.Action, skip.Action = Chain, FlattenChunks, Chain
		flatten.Peer, flatten.Bytes = reader.Layer, reader.Bytes
		skip.Table, skip.ReadOnly = targets.Single(reader.Table.Size(), over), true
		p.Steps = append(p.Steps, open, flatten, skip)
	}
	return p, nil
}
