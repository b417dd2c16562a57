package targets

// Interpose is the target of dmsnap's own kernel module: it maps one to one
// onto a plain device that stays in use by others, without claiming it.
type Interpose struct {
	Dev Device
}

// Type is "interpose".
func (Interpose) Type() string { return "interpose" }

// Params is "<dev>".
func (i Interpose) Params() string { return i.Dev.arg() }

// Devices is the one device below.
func (i Interpose) Devices() []Device { return []Device{i.Dev} }

// Validate checks the device argument.
func (i Interpose) Validate() error { return i.Dev.Validate() }

func parseInterpose(params string) (Interpose, error) {
	r := newReader("interpose", params)
	i := Interpose{Dev: r.device("device")}
	return i, r.end()
}
