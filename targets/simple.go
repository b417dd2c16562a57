package targets

// Zero reads as zeros and swallows writes. It has no parameters.
type Zero struct{}

// Type is "zero".
func (Zero) Type() string { return "zero" }

// Params is empty.
func (Zero) Params() string { return "" }

// Error fails every read and write with EIO. It has no parameters; the form
// with a device, for zoned disks, is read as a [Raw].
type Error struct{}

// Type is "error".
func (Error) Type() string { return "error" }

// Params is empty.
func (Error) Params() string { return "" }

// parseError keeps the text of the form with a device.
func parseError(params string) (Target, error) {
	if len(split(params)) > 0 {
		return Raw{Kind: "error", Text: params}, nil
	}
	return Error{}, nil
}
