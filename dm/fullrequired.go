package dm

import "fmt"

// FullReason says why a list of changes cannot be given.
type FullReason string

// The reasons.
const (
	FullUnknownCursor FullReason = "unknown_cursor" // the other set has no image of the same origin
	FullTrackerFailed FullReason = "tracker_failed" // a set or layer between the images is lost or damaged
	FullOriginChanged FullReason = "origin_changed" // the origin is smaller than it was
	FullUnsupported   FullReason = "unsupported"    // a set is transient or writable
)

// FullRequired says that what changed is not recorded, so that the whole image has to be
// copied. It is found with errors.As inside an Error of CodeFullRequired.
type FullRequired struct {
	Reason FullReason
	Volume string
	Since  string // the set
	Why    string
}

func (e *FullRequired) Error() string {
	return fmt.Sprintf("what changed in %s since %s is not recorded: %s", e.Volume, e.Since, e.Why)
}
