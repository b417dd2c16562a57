package store

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/dm/internal/units"
	"github.com/dmsnap/dmsnap/targets"
)

// ram is memory, all of it taken at once and never swapped out. A disk of zram
// would have sectors of 4 KiB, which most origins cannot be paired with, and brd
// gives memory back only when its module is unloaded.
type ram struct {
	limit   uint64 // bytes, or of MemAvailable if percent; zero for none
	percent bool
}

func parseRAM(limit string) (Kind, error) {
	n, percent, err := units.Parse(limit)
	if err != nil {
		return nil, plan.Refuse(plan.Usage, "ram:"+limit, "write ram:512m, or ram:10% of the memory that is available", "store ram: %v", err)
	}
	return ram{n, percent}, nil
}

// ramShare is the part of the available memory that stores may take at most.
const ramShare = 4

func (r ram) Inspect(h *Host, o plan.Origin) (plan.Store, error) {
	available, err := h.memory()
	if err != nil {
		return plan.Store{}, err
	}
	bound := available / ramShare
	limit := r.limit
	if r.percent {
		hi, lo := bits.Mul64(available, min(r.limit, 100))
		limit, _ = bits.Div64(hi, lo, 100)
	}
	if limit > bound {
		return plan.Store{}, plan.Refuse(plan.NoSpace, "ram", fmt.Sprintf("ask for at most %dm", bound>>20),
			"a store of %d bytes in memory is more than a quarter of the %d bytes available", limit, available)
	}
	if most := layout.Area(bound); limit == 0 || limit > most {
		limit = most // lead and tail come on top
	}
	return plan.Store{
		Kind: "ram", Backing: plan.Memory, LogicalBlock: max(o.LogicalBlock, 512),
		Size: targets.Sectors(limit / 4096 * 8),
	}, nil
}

// memory is MemAvailable of /proc/meminfo in bytes.
func (h *Host) memory() (uint64, error) {
	b, err := h.Read.Kernel.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if text, found := strings.CutPrefix(line, "MemAvailable:"); found {
			kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 54)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/meminfo does not say how much memory is available")
}
