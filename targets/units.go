package targets

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// SectorSize is the unit of every table, in bytes. It does not depend on the
// device's logical block size.
const SectorSize = 512

// maxSectors keeps Bytes from overflowing.
const maxSectors = 1<<55 - 1

// Sectors is a length or an offset in units of 512 bytes.
type Sectors uint64

// SectorsFromBytes converts a size in bytes. A size that is no multiple of 512
// is an error: nothing is rounded silently.
func SectorsFromBytes(n uint64) (Sectors, error) {
	if n%SectorSize != 0 {
		return 0, fmt.Errorf("%d bytes is no multiple of %d", n, SectorSize)
	}
	return Sectors(n / SectorSize), nil
}

// Bytes is the length in bytes.
func (s Sectors) Bytes() uint64 { return uint64(s) * SectorSize }

// String is the plain decimal number, as in a table.
func (s Sectors) String() string { return strconv.FormatUint(uint64(s), 10) }

// parseSectors reads a plain decimal number below 2^55.
func parseSectors(text string) (Sectors, error) {
	n, err := parseUint(text, 64)
	if err != nil {
		return 0, err
	}
	if n > maxSectors {
		return 0, strconv.ErrRange
	}
	return Sectors(n), nil
}

// parseUint reads decimal digits only: no sign, no base prefix, no underscore.
func parseUint(text string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		return 0, errors.Unwrap(err)
	}
	return n, nil
}

// DevNo is a device number. It has the shape of ioctl.DevNo, so that one
// converts into the other.
type DevNo struct {
	Major, Minor uint32
}

// The kernel's dev_t has 12 bits for the major and 20 for the minor number.
const (
	majorBits = 12
	minorBits = 20
)

// ParseDevNo reads "major:minor" in decimal.
func ParseDevNo(text string) (DevNo, error) {
	major, minor, ok := strings.Cut(text, ":")
	if !ok {
		return DevNo{}, &ParseError{Kind: "device number", Text: text, Reason: "not of the form major:minor"}
	}
	maj, err := parseUint(major, majorBits)
	if err != nil {
		return DevNo{}, &ParseError{Kind: "device number", Field: "major", Text: text, Reason: err.Error()}
	}
	mnr, err := parseUint(minor, minorBits)
	if err != nil {
		return DevNo{}, &ParseError{Kind: "device number", Field: "minor", Text: text, Reason: err.Error()}
	}
	return DevNo{Major: uint32(maj), Minor: uint32(mnr)}, nil
}

// String is "major:minor".
func (d DevNo) String() string {
	return strconv.FormatUint(uint64(d.Major), 10) + ":" + strconv.FormatUint(uint64(d.Minor), 10)
}
