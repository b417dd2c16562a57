package dm

import (
	"context"
	"errors"
	"strings"
)

// interruption is an error of an operation whose context was cancelled, in the
// words of its user. It still is context.Canceled, and all else it wraps.
type interruption struct{ error }

// explainCancel puts what the context says of itself into words.
func explainCancel(err error) error {
	if errors.Is(err, context.Canceled) {
		return interruption{err}
	}
	return err
}

func (i interruption) Error() string {
	return strings.ReplaceAll(i.error.Error(), context.Canceled.Error(), "interrupted")
}

func (i interruption) Unwrap() error { return i.error }
