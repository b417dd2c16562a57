package targets

// Linear maps a row onto a range of another device.
type Linear struct {
	Dev    Device
	Offset Sectors // where on Dev the row starts
}

// Type is "linear".
func (Linear) Type() string { return "linear" }

// Params is "<dev> <offset>".
func (l Linear) Params() string { return l.Dev.arg() + " " + l.Offset.String() }

// Devices is the one device below.
func (l Linear) Devices() []Device { return []Device{l.Dev} }

// Validate checks the device argument.
func (l Linear) Validate() error { return l.Dev.Validate() }

func parseLinear(params string) (Linear, error) {
	r := newReader("linear", params)
	l := Linear{Dev: r.device("device"), Offset: r.sectors("offset")}
	return l, r.end()
}
