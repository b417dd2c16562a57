package targets

import (
	"strconv"
	"strings"
)

// Striped spreads a row over several devices, Chunk by Chunk in turn.
type Striped struct {
	Chunk   Sectors
	Stripes []Stripe
}

// Stripe is one member of a Striped target.
type Stripe struct {
	Dev    Device
	Offset Sectors // where on Dev the stripe starts
}

// Type is "striped".
func (Striped) Type() string { return "striped" }

// Params is "<stripes> <chunk> [<dev> <offset>]...".
func (s Striped) Params() string {
	words := []string{strconv.Itoa(len(s.Stripes)), s.Chunk.String()}
	for _, stripe := range s.Stripes {
		words = append(words, stripe.Dev.arg(), stripe.Offset.String())
	}
	return strings.Join(words, " ")
}

// Devices are the members in order.
func (s Striped) Devices() []Device {
	var devices []Device
	for _, stripe := range s.Stripes {
		devices = append(devices, stripe.Dev)
	}
	return devices
}

// Validate wants a stripe and a chunk size that fits 32 bits.
func (s Striped) Validate() error {
	if len(s.Stripes) == 0 {
		return &InvalidError{Kind: s.Type(), Reason: "no stripes"}
	}
	if s.Chunk == 0 || s.Chunk >= 1<<32 {
		return &InvalidError{Kind: s.Type(), Reason: "chunk size " + s.Chunk.String()}
	}
	return validateDevices(s.Devices()...)
}

func parseStriped(params string) (Striped, error) {
	r := newReader("striped", params)
	n := r.number("stripe count", 32)
	s := Striped{Chunk: r.sectors("chunk size")}
	for i := uint64(0); i < n && r.err == nil; i++ {
		s.Stripes = append(s.Stripes, Stripe{Dev: r.device("device"), Offset: r.sectors("offset")})
	}
	return s, r.end()
}
