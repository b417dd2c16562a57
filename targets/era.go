package targets

// MaxEraBlock is the largest block size an era target is given here, in
// sectors; the kernel's argument has 32 bits.
const MaxEraBlock Sectors = 1<<32 - 1

// Era maps one to one and remembers in which era each block was last written.
type Era struct {
	Meta   Device
	Origin Device
	Block  Sectors // granularity; fixed for the life of Meta
}

// Type is "era".
func (Era) Type() string { return "era" }

// Params is "<meta> <origin> <block>".
func (e Era) Params() string {
	return e.Meta.arg() + " " + e.Origin.arg() + " " + e.Block.String()
}

// Devices are the metadata device and the origin.
func (e Era) Devices() []Device { return []Device{e.Meta, e.Origin} }

// Validate wants a block size that is a multiple of 8 sectors; it need not be
// a power of two.
func (e Era) Validate() error {
	if e.Block == 0 || e.Block%8 != 0 || e.Block > MaxEraBlock {
		return &InvalidError{Kind: e.Type(), Reason: "block size " + e.Block.String() + " is no multiple of 8 sectors"}
	}
	return validateDevices(e.Devices()...)
}

func parseEra(params string) (Era, error) {
	r := newReader("era", params)
	e := Era{Meta: r.device("metadata device"), Origin: r.device("origin"), Block: r.sectors("block size")}
	return e, r.end()
}
