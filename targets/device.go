package targets

import "strings"

// interposePrefix asks a kernel with the (unmerged) blk_interposer series to
// slide the target under a device that is in use. Stock kernels refuse it.
const interposePrefix = "[interpose]"

// Device is the device argument of a target: a number, or a path that the
// kernel looks up in the caller's mount namespace. Tables read back from a
// kernel always have numbers. Prefer numbers: paths change their meaning.
type Device struct {
	DevNo     DevNo  // used when Path is empty
	Path      string // never of the form major:minor
	Interpose bool   // carries the prefix "[interpose]"
}

// Numbered is the argument for a device number.
func Numbered(major, minor uint32) Device {
	return Device{DevNo: DevNo{Major: major, Minor: minor}}
}

// ParseDevice reads one argument, already unescaped: "8:1", a path, either
// with "[interpose]" before it. Text of the form digits:digits is a number or
// an error, as in the kernel.
func ParseDevice(text string) (Device, error) {
	rest, interpose := strings.CutPrefix(text, interposePrefix)
	d := Device{Interpose: interpose}
	if looksNumbered(rest) {
		n, err := ParseDevNo(rest)
		d.DevNo = n
		return d, err
	}
	d.Path = rest
	if reason := pathFault(rest); reason != "" {
		return Device{}, &ParseError{Kind: "device", Text: text, Reason: reason}
	}
	return d, nil
}

// String is the argument before escaping; ParseDevice reads it back.
func (d Device) String() string {
	text := d.Path
	if text == "" {
		text = d.DevNo.String()
	}
	if d.Interpose {
		return interposePrefix + text
	}
	return text
}

// MarshalText is String as bytes.
func (d Device) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDevice.
func (d *Device) UnmarshalText(text []byte) error {
	got, err := ParseDevice(string(text))
	if err == nil {
		*d = got
	}
	return err
}

// Validate refuses the zero Device, a device that has both a number and a
// path, and paths that no table text can carry.
func (d Device) Validate() error {
	if d == (Device{Interpose: d.Interpose}) {
		return &InvalidError{Kind: "device", Reason: "neither number nor path"}
	}
	if d.Path == "" {
		return nil
	}
	if d.DevNo != (DevNo{}) {
		return &InvalidError{Kind: "device", Reason: "both number and path"}
	}
	if looksNumbered(d.Path) {
		return &InvalidError{Kind: "device", Reason: "path " + d.Path + " reads as a number"}
	}
	if reason := pathFault(d.Path); reason != "" {
		return &InvalidError{Kind: "device", Reason: reason}
	}
	return nil
}

// arg is the device as a word of a parameter line.
func (d Device) arg() string { return escape(d.String()) }

// looksNumbered: the kernel takes any digits:digits as a number.
func looksNumbered(text string) bool {
	major, minor, ok := strings.Cut(text, ":")
	return ok && allDigits(major) && allDigits(minor)
}

func allDigits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

func pathFault(path string) string {
	switch {
	case path == "":
		return "empty"
	case strings.HasPrefix(path, interposePrefix):
		return "prefix " + interposePrefix + " twice"
	case strings.ContainsAny(path, "\x00\n"):
		return "NUL or newline in path"
	}
	return ""
}
