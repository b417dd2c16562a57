package plan

import (
	"fmt"

	"github.com/dmsnap/dmsnap/targets"
)

// AttachRequest asks for the layer of a plain device, without a set. ID is made
// by the caller.
type AttachRequest struct {
	Origin  Origin
	ID      string
	Mounted bool
	// Layer is the table that all I/O is to pass between front and plain device; nil for none.
	// It names devices by number, the plain one too.
	Layer targets.Table
	// Sizes are those of its other devices.
	Sizes map[targets.DevNo]targets.Sectors
}

// Beside are the devices that the layer has beside the plain one.
func (r AttachRequest) Beside() (beside []targets.DevNo) {
	for _, d := range r.Layer.Devices() {
		if d != numbered(r.Origin.Dev) {
			beside = append(beside, d.DevNo)
		}
	}
	return beside
}

// AttachOnly plans what brings a plain device under device-mapper: with the
// module even one in use, without it only an unused one.
func AttachOnly(r AttachRequest) (*Plan, error) {
	o := r.Origin
	if r.adoptable() && r.Layer == nil {
		return adopt(r), nil
	}
	if err := CheckOrigin(o); err != nil {
		return nil, err
	}
	if o.Plain == nil {
		return nil, Refuse(Usage, o.Path, "dmsnap create takes a snapshot of it", "%s is already a device-mapper device", o.Path)
	}
	layer, err := r.layer()
	if err != nil {
		return nil, err
	}
	base := BaseName(o.Volume)
	p := &Plan{Op: "attach", Set: base, ID: r.ID, Volumes: []Volume{{
		Name: o.Volume, Front: FrontName(o.Volume), Base: base, Origin: o, NewBase: o.Base == nil, Layer: layer,
	}}}
	if o.Base == nil {
		p.Steps = moduleRedirector{layer}.Attach(o, base, BaseUUID(r.ID))
	}
	p.Steps = append(p.Steps, Step{Phase: Finish, Action: Settle})
	p.Steps = append(p.Steps, verifyFront(p.Volumes[0])...)
	return p, nil
}

const layerHint = "man dmsnap-attach shows tables that are accepted"

// CheckLayer refuses a layer that does not leave each sector of the device where it is.
func (r AttachRequest) CheckLayer() error {
	o := r.Origin
	if err := r.Layer.Validate(); err != nil {
		return Refuse(Usage, o.Path, layerHint, "the layer for %s: %v", o.Path, err)
	}
	if size := r.Layer.Size(); size != o.Size {
		return Refuse(Usage, o.Path, fmt.Sprintf("make it %d sectors long", o.Size),
			"the layer for %s has %d sectors, but the device has %d", o.Path, size, o.Size)
	}
	if err := r.Layer.InPlace(numbered(o.Dev)); err != nil {
		return Refuse(Usage, o.Path, layerHint, "the layer for %s: %v", o.Path, err)
	}
	return nil
}

// layer is the table that the base is to have; nil for its usual one.
func (r AttachRequest) layer() (targets.Table, error) {
	o := r.Origin
	if r.Layer == nil {
		return nil, nil
	}
	if err := r.CheckLayer(); err != nil {
		return nil, err
	}
	if o.Base != nil {
		return nil, r.sameLayer()
	}
	if err := r.checkMetadata(); err != nil {
		return nil, err
	}
	return r.over(mapped(LowerName(o.Volume))), nil
}

// over is the layer with another device in the place of the plain one.
func (r AttachRequest) over(lower targets.Device) targets.Table {
	t, _ := r.Layer.Substitute(func(d targets.Device) (targets.Device, error) {
		if d == numbered(r.Origin.Dev) {
			d = lower
		}
		return d, nil
	})
	return t
}

// sameLayer refuses to give a device that is attached another layer: its users would
// have to wait for that.
func (r AttachRequest) sameLayer() error {
	o := r.Origin
	if lower := o.Base.Lower; lower != nil && o.Base.Table.Equal(r.over(numbered(lower.Dev))) {
		return nil
	}
	return Refuse(Busy, o.Path, "remove its sets and run dmsnap detach, then try again", "%s is attached without this layer", o.Path)
}

// metadataBlock is the unit in which dm-era allocates its metadata.
const metadataBlock = targets.Sectors(8)

// checkMetadata refuses metadata that is sure to be too small for a dm-era: once it
// is full, writes to the origin fail.
func (r AttachRequest) checkMetadata() error {
	for _, row := range r.Layer {
		era, is := row.Target.(targets.Era)
		if !is {
			continue
		}
		has, needs := r.Sizes[era.Meta.DevNo], eraMetadata(row.Length, era.Block)
		if has < needs {
			return Refuse(Usage, r.Origin.Path, "name a larger device, or larger blocks",
				"%s has %d bytes, but dm-era needs %d for its metadata: once that is full, writes to %s fail", era.Meta, has.Bytes(), needs.Bytes(), r.Origin.Path)
		}
	}
	return nil
}

// eraMetadata is what dm-era needs: an array of 4 bytes a block three times, since
// changes go to copies; a bitmap for each era that is not merged into it yet, of which there
// may be 16; a fiftieth for its trees, and 64 blocks.
func eraMetadata(size, block targets.Sectors) targets.Sectors {
	const inArray, inBitmap, eras = 1018, 32576, 16 // entries of a metadata block
	n := ceil(size, block)
	blocks := 3*ceil(n, inArray) + (3+eras)*ceil(n, inBitmap)
	return (blocks + blocks/50 + 64) * metadataBlock
}

func ceil(n, unit targets.Sectors) targets.Sectors { return (n + unit - 1) / unit }
