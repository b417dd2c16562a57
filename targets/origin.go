package targets

// Origin is snapshot-origin: it maps one to one and has old chunks copied to
// the stores of all snapshots whose origin argument is the same block device
// as Dev. It ignores the start of its row: one row at sector 0.
type Origin struct {
	Dev Device
}

// Type is "snapshot-origin".
func (Origin) Type() string { return "snapshot-origin" }

// Params is "<dev>".
func (o Origin) Params() string { return o.Dev.arg() }

// Devices is the one device below.
func (o Origin) Devices() []Device { return []Device{o.Dev} }

// Validate checks the device argument.
func (o Origin) Validate() error { return o.Dev.Validate() }

func parseOrigin(params string) (Origin, error) {
	r := newReader("snapshot-origin", params)
	o := Origin{Dev: r.device("device")}
	return o, r.end()
}
