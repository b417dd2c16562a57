package targets

// Target is one target of a table: its type as the kernel registers it and its
// parameters as one line. Callers may implement their own; a Validate() error
// method is used where there is one.
type Target interface {
	Type() string
	Params() string
}

// validator is what Table.Validate looks for.
type validator interface{ Validate() error }

// lower is what Table.Devices looks for.
type lower interface{ Devices() []Device }

// Parse reads the parameters of one target. A type without a Go type of its
// own becomes a [Raw] and never fails. The error is a [*ParseError].
func Parse(typ, params string) (Target, error) {
	t, err := parse(typ, params)
	if err != nil {
		return nil, err
	}
	return t, nil
}

func parse(typ, params string) (Target, error) {
	switch typ {
	case "linear":
		return parseLinear(params)
	case "striped":
		return parseStriped(params)
	case "zero":
		return Zero{}, newReader(typ, params).end()
	case "error":
		return parseError(params)
	case "snapshot-origin":
		return parseOrigin(params)
	case "snapshot":
		return parseSnapshot(typ, params)
	case "snapshot-merge":
		s, err := parseSnapshot(typ, params)
		return Merge(s), err
	case "era":
		return parseEra(params)
	case "interpose":
		return parseInterpose(params)
	}
	return Raw{Kind: typ, Text: params}, nil
}

// validateDevices is the first error among the devices of a target.
func validateDevices(devices ...Device) error {
	for _, d := range devices {
		if err := d.Validate(); err != nil {
			return err
		}
	}
	return nil
}
