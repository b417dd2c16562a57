package targets

import "strconv"

// InterposeStatus is the status line of an interpose target.
type InterposeStatus struct {
	// Front is the device that gets what is addressed to the plain device; zero
	// while nothing is redirected.
	Front DevNo
	// Bypassed counts writes that reached the same sectors by another name, the
	// whole disk for example, since the redirect began.
	Bypassed uint64
}

// Attached tells whether there is a redirect.
func (s InterposeStatus) Attached() bool { return s.Front != DevNo{} }

// String is the status line as the kernel prints it.
func (s InterposeStatus) String() string {
	front := "-"
	if s.Attached() {
		front = s.Front.String()
	}
	return front + " " + strconv.FormatUint(s.Bypassed, 10)
}

// ParseInterposeStatus reads "<front or -> <bypassed>". The error is a
// [*ParseError].
func ParseInterposeStatus(text string) (InterposeStatus, error) {
	r := newReader("interpose status", text)
	var s InterposeStatus
	if front := r.word("front"); r.err == nil && front != "-" {
		var err error
		if s.Front, err = ParseDevNo(front); err != nil {
			r.fail("front", front, err.Error())
		}
	}
	s.Bypassed = r.number("bypassed", 64)
	return s, r.end()
}
