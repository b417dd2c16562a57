package targets

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/dmsnap/dmsnap/internal/devno"
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

// DevNo is a device number, the same type as ioctl.DevNo.
type DevNo = devno.DevNo

// ParseDevNo reads "major:minor" in decimal.
func ParseDevNo(text string) (DevNo, error) {
	d, err := devno.Parse(text)
	if err != nil {
		return DevNo{}, &ParseError{Kind: "device number", Text: text, Reason: "not of the form major:minor, or too large"}
	}
	return d, nil
}
