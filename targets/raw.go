package targets

import "strings"

// Raw is a target this package has no type for. Text is kept to the byte, so
// that a table moved to another device stays what it was.
type Raw struct {
	Kind string
	Text string
}

// Type is Kind.
func (r Raw) Type() string { return r.Kind }

// Params is Text.
func (r Raw) Params() string { return r.Text }

// maxTypeName is DM_MAX_TYPE_NAME without the final NUL.
const maxTypeName = 15

// Validate refuses a type name the kernel would cut and text that breaks a
// table line. Whether the parameters make sense only the kernel knows.
func (r Raw) Validate() error {
	if r.Kind == "" || len(r.Kind) > maxTypeName || len(split(r.Kind)) != 1 || strings.ContainsAny(r.Kind, "\x00\\") {
		return &InvalidError{Kind: "target type", Reason: "not a name of 1 to 15 bytes"}
	}
	if strings.ContainsAny(r.Text, "\x00\n") {
		return &InvalidError{Kind: r.Kind, Reason: "NUL or newline in parameters"}
	}
	return nil
}

// positions gives the indexes of the device arguments of targets where they
// stand at fixed places (Documentation/admin-guide/device-mapper).
func positions(kind string) []int {
	switch kind {
	case "crypt", "inlinecrypt", "default-key", "unstriped":
		return []int{3}
	case "thin": // the third argument, an external origin, is optional
		return []int{0, 2}
	case "thin-pool", "log-writes":
		return []int{0, 1}
	case "cache", "clone":
		return []int{0, 1, 2}
	case "writecache", "verity":
		return []int{1, 2}
	case "flakey", "dust", "integrity", "zoned", "ebs":
		return []int{0}
	case "delay": // one, two or three groups of device, offset, delay
		return []int{0, 3, 6}
	}
	return nil
}

// Devices are the lower devices, as far as the text tells: by position for
// well-known targets, and any further word of the form major:minor. For a
// table in the kernel the dependencies it reports are the truth.
func (r Raw) Devices() []Device {
	words := split(r.Text)
	fixed := positions(r.Kind)
	var devices []Device
	for _, i := range fixed {
		if i >= len(words) {
			break
		}
		if d, err := ParseDevice(words[i]); err == nil {
			devices = append(devices, d)
		}
	}
	if fixed == nil {
		return scan(words)
	}
	return append(devices, named(r.Kind, words)...)
}

// scan takes every word of the form major:minor.
func scan(words []string) []Device {
	var devices []Device
	for _, w := range words {
		if n, err := ParseDevNo(w); err == nil {
			devices = append(devices, Device{DevNo: n})
		}
	}
	return devices
}

// named finds the devices behind a keyword: verity's error correction, the
// separate metadata device of integrity.
func named(kind string, words []string) []Device {
	for i, w := range words {
		text, ok := strings.CutPrefix(w, "meta_device:")
		if kind == "verity" && w == "use_fec_from_device" && i+1 < len(words) {
			text, ok = words[i+1], true
		}
		if d, err := ParseDevice(text); ok && err == nil {
			return []Device{d}
		}
	}
	return nil
}
