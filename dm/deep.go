package dm

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"
)

// chainFlattener flattens leftovers of removed sets while a chain is longer than
// FlattenDepth, one after the other. It runs in a goroutine of its own: a copy may take
// hours, and stores must not wait to grow.
type chainFlattener struct {
	sets     *lister
	request  MonitorRequest
	log      *slog.Logger
	remove   func(context.Context, RemoveRequest) error
	announce func(context.Context, Event)
	tried    map[string]bool // a leftover that failed is not tried again, since it needs room
}

func (c *chainFlattener) run(ctx context.Context) {
	for {
		if layer := c.next(); layer != "" {
			err := c.remove(ctx, RemoveRequest{Name: layer, Flatten: true, Rate: c.request.FlattenRate})
			c.tried[layer] = err != nil && CodeOf(err) != CodeLocked
			if err != nil && ctx.Err() == nil {
				c.log.Warn("images read through many others, but this one could not be flattened", "layer", layer, "error", err)
			}
			if err == nil {
				c.announce(ctx, setEvent(EventFlattened, layer))
				continue
			}
		}
		select {
		case <-time.After(c.request.Interval):
		case <-ctx.Done():
			return
		}
	}
}

func (c *chainFlattener) next() string {
	v, err := c.sets.scanDevices()
	if err != nil {
		c.log.Warn("cannot inspect the chains of images", "error", err)
		return ""
	}
	return nextToFlatten(v.sets(), c.request.FlattenDepth, c.tried)
}

// nextToFlatten is the leftover to flatten next: the oldest one that gets no more copies,
// if a chain is longer than most. It is empty if there is none.
func nextToFlatten(sets []Set, most int, tried map[string]bool) string {
	depth, readers := 0, func(s Set) (n int) {
		for _, vol := range s.Volumes {
			n = max(n, len(vol.ReadBy))
		}
		return n
	}
	var layers []Set
	for _, s := range sets {
		for _, vol := range s.Volumes {
			depth = max(depth, vol.Depth)
		}
		still := slices.ContainsFunc(s.Volumes, func(vol Volume) bool { return vol.ReadsThrough == "" })
		if s.Layer && !s.Bookmark && !still && !tried[s.Name] {
			layers = append(layers, s)
		}
	}
	if depth <= most || len(layers) == 0 {
		return ""
	}
	return slices.MinFunc(layers, func(a, b Set) int { return cmp.Compare(readers(a), readers(b)) }).Name
}
