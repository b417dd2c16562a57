package targets

import (
	"cmp"
	"strings"
)

// Device is the device argument of a target: a number, or a path that the
// kernel looks up in the caller's mount namespace. Tables read back from a
// kernel always have numbers. Prefer numbers: paths change their meaning.
type Device struct {
	DevNo DevNo  // used when Path is empty
	Path  string // never of the form major:minor
}

// Numbered is the argument for a device number.
func Numbered(major, minor uint32) Device {
	return Device{DevNo: DevNo{Major: major, Minor: minor}}
}

// ParseDevice reads one argument, already unescaped: "8:1" or a path.
// Text of the form digits:digits is a number or
// an error, as in the kernel.
func ParseDevice(text string) (Device, error) {
	if looksNumbered(text) {
		n, err := ParseDevNo(text)
		return Device{DevNo: n}, err
	}
	if reason := pathFault(text); reason != "" {
		return Device{}, &ParseError{Kind: "device", Text: text, Reason: reason}
	}
	return Device{Path: text}, nil
}

// String is the argument before escaping; ParseDevice reads it back.
func (d Device) String() string {
	return cmp.Or(d.Path, d.DevNo.String())
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
	if d == (Device{}) {
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
	case strings.ContainsAny(path, "\x00\n"):
		return "NUL or newline in path"
	}
	return ""
}
