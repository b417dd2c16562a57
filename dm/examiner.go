package dm

import (
	"log/slog"

	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
)

// examiner looks up what a plan has to know of origins and of their stores. It changes
// nothing.
type examiner struct {
	kernel *ioctl.Kernel
	read   *stack.Reader
	sets   *lister
	log    *slog.Logger
	load   *loadMeter
}
