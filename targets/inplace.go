package targets

import (
	"errors"
	"slices"
	"strings"
)

// inPlace are the targets that neither change what is written nor where: which of their
// words name the device below, and whether the sector at which a row begins on it
// follows. Those where it does not ignore it, and stand alone.
var inPlace = map[string]struct {
	devices []int
	starts  bool
}{
	"linear":     {[]int{0}, true},
	"delay":      {[]int{0, 3, 6}, true}, // reads, writes, flushes
	"dust":       {[]int{0}, true},
	"era":        {[]int{1}, false},
	"log-writes": {[]int{0}, false},
}

// InPlace refuses a table in which a sector of dev might be anywhere but at its own
// place, or hold anything but what was written: data that was there before, or is
// read there when the table is gone, would be damaged. Devices are compared as they are written.
func (t Table) InPlace(dev Device) error {
	for _, row := range t {
		if err := row.inPlace(dev, len(t) == 1); err != nil {
			return &InvalidError{Kind: row.Target.Type(), Reason: err.Error()}
		}
	}
	return nil
}

func (r Row) inPlace(dev Device, alone bool) error {
	keeps, known := inPlace[r.Target.Type()]
	if !known {
		return errors.New("not known to leave all data where it is")
	}
	words := split(r.Target.Params())
	for i, word := range words {
		d, err := ParseDevice(word)
		seat := slices.Contains(keeps.devices, i)
		switch {
		case !seat && err == nil && d == dev:
			return errors.New("names " + dev.String() + " for its own data, too")
		case !seat:
			continue
		case err != nil || d != dev:
			return errors.New("maps " + word + ", not " + dev.String())
		case keeps.starts && (i+1 == len(words) || words[i+1] != r.Start.String()):
			return errors.New("does not map sector " + r.Start.String() + " to itself")
		}
	}
	switch {
	case len(words) <= keeps.devices[0]:
		return errors.New("names no device")
	case !keeps.starts && !alone:
		return ErrNotWhole
	}
	return nil
}

// Substitute is the table with other devices, as far as the places are known in which a
// target names them. A target of which none changes stays as it is, to the byte.
func (t Table) Substitute(other func(Device) (Device, error)) (Table, error) {
	out := slices.Clone(t)
	for i, row := range t {
		var err error
		if out[i].Target, err = substitute(row.Target, other); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func substitute(t Target, other func(Device) (Device, error)) (Target, error) {
	var errs []error
	put := func(d *Device) {
		to, err := other(*d)
		errs, *d = append(errs, err), to
	}
	switch target := t.(type) {
	case Linear:
		put(&target.Dev)
		t = target
	case Origin:
		put(&target.Dev)
		t = target
	case Snapshot:
		put(&target.Origin)
		put(&target.Store)
		t = target
	case Era:
		put(&target.Meta)
		put(&target.Origin)
		t = target
	case Raw:
		return target.substitute(other)
	}
	return t, errors.Join(errs...)
}

func (r Raw) substitute(other func(Device) (Device, error)) (Target, error) {
	words, changed := split(r.Text), false
	for i := range words {
		d, err := ParseDevice(words[i])
		to := d
		if err == nil && slices.Contains(positions(r.Kind), i) {
			if to, err = other(d); err != nil {
				return r, err
			}
		}
		changed = changed || to != d
		words[i] = escape(words[i])
		if to != d {
			words[i] = to.arg()
		}
	}
	if changed {
		r.Text = strings.Join(words, " ")
	}
	return r, nil
}
