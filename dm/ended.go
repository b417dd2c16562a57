package dm

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/store/format"
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

// endedVolumes reads the stores of persistent sets that an earlier boot left.
func (s *session) endedVolumes() ([]EndedVolume, error) {
	boot, err := s.bootID()
	if err != nil {
		return nil, err
	}
	sets, err := s.state.Sets()
	if err != nil {
		s.log.Warn("a record cannot be read", "error", err)
	}
	out := []EndedVolume{}
	for _, set := range sets {
		if !set.Persistent || set.BootID == boot {
			continue
		}
		for _, v := range set.Volumes {
			out = append(out, s.endedVolume(set.Name, v))
		}
	}
	return out, nil
}

func (s *session) endedVolume(set string, v journal.Volume) EndedVolume {
	e := EndedVolume{Set: set, Volume: v.Name, Store: v.StorePath}
	header, used, err := s.readEnded(v)
	switch {
	case v.StorePath == "":
		e.Reason = "it was in memory"
	case len(v.Spill) > 0:
		e.Reason = "it went on with another device"
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

func (s *session) readEnded(v journal.Volume) (h format.Header, used uint64, err error) {
	if v.StorePath == "" {
		return h, 0, nil
	}
	f, err := s.kernel.Open(v.StorePath, unix.O_RDONLY, 0)
	if err != nil {
		return h, 0, err
	}
	on, err := format.Open(f, int64(v.StoreBytes))
	if err == nil {
		var u format.Usage
		u, err = on.Usage()
		h, used = on.Header, u.Used
	}
	return h, used, errors.Join(err, f.Close())
}
