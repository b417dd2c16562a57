package dm

import (
	"errors"
	"io"
	"log/slog"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/dm/internal/store/format"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/ioctl"
)

// EndedVolume is a volume of a persistent set that ended with an earlier boot,
// and what its store was found to hold.
type EndedVolume struct {
	Set    string `json:"set"`
	Volume string `json:"volume"`
	Store  string `json:"store"` // device or file
	// Valid is false if the store was full or failed before the end, or cannot be
	// read; Reason says so.
	Valid  bool   `json:"valid"`
	Reason string `json:"reason,omitempty"`
	// UsedBytes is what it holds, metadata included. Nil if it cannot be read.
	UsedBytes *uint64 `json:"used_bytes"`
}

// endedReader reads the stores of sets that are gone from the kernel.
type endedReader struct {
	kernel *ioctl.Kernel
	read   *stack.Reader
	state  journal.Dir
	log    *slog.Logger
}

// volumes reads the stores of persistent sets that an earlier boot left.
func (r endedReader) volumes() ([]EndedVolume, error) {
	boot, err := r.read.BootID()
	if err != nil {
		return nil, err
	}
	sets, err := r.state.Sets()
	if err != nil {
		r.log.Warn("a record cannot be read", "error", err)
	}
	out := []EndedVolume{}
	for _, set := range sets {
		if !set.Persistent || set.BootID == boot {
			continue
		}
		for _, v := range set.Volumes {
			out = append(out, r.volume(set.Name, set.ID, v))
		}
	}
	return out, nil
}

func (r endedReader) volume(set, id string, v journal.Volume) EndedVolume {
	e := EndedVolume{Set: set, Volume: v.Name, Store: v.StorePath}
	header, used, err := r.store(id, v)
	switch {
	case v.StorePath == "":
		e.Reason = "it was in memory"
	case len(v.MoreFiles) > 0:
		e.Reason = "it went on in another file"
	case len(v.Spill) > 0:
		e.Reason = "it continued on another device"
	case errors.Is(err, format.ErrNew):
		e.Reason = "it holds nothing"
	case err != nil:
		e.Reason = err.Error()
	case !header.Valid:
		e.Reason, e.UsedBytes = "it was full or failed", &used
	default:
		e.Valid, e.UsedBytes = true, &used
	}
	return e
}

// ownLabel refuses what another device by the same name carries.
func ownLabel(f io.ReaderAt, id string) error {
	b := make([]byte, layout.Align)
	if _, err := f.ReadAt(b, 0); err != nil {
		return err
	}
	l, _, err := layout.Decode(b)
	if err == nil && l.ID != id {
		err = errors.New("it is the store of set " + l.Set)
	}
	return err
}

func (r endedReader) store(id string, v journal.Volume) (h format.Header, used uint64, err error) {
	if v.StorePath == "" {
		return h, 0, nil
	}
	f, err := r.kernel.Open(v.StorePath, unix.O_RDONLY, 0)
	if err != nil {
		return h, 0, err
	}
	if v.StoreLead > 0 {
		err = ownLabel(f, id)
	}
	if err != nil {
		return h, 0, errors.Join(err, f.Close())
	}
	on, err := format.Open(io.NewSectionReader(f, int64(v.StoreLead), int64(v.StoreBytes)), int64(v.StoreBytes))
	if err == nil {
		var u format.Usage
		u, err = on.Usage()
		h, used = on.Header, u.Used
	}
	return h, used, errors.Join(err, f.Close())
}
