package dm

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// When and how fast a monitor flattens chains.
const (
	defaultFlattenDepth = 16
	defaultFlattenRate  = 16 << 20 // bytes a second
)

// flattenDeepChains flattens leftovers of removed sets while a chain is longer than
// FlattenDepth, one after the other. It runs in a goroutine of its own: a copy may take
// hours, and stores must not wait to grow. One that failed is not tried again, since
// it needs room.
func (w *monitorRun) flattenDeepChains(ctx context.Context) {
	tried := map[string]bool{}
	for {
		if layer := w.nextToFlatten(tried); layer != "" {
			err := w.Remove(ctx, RemoveRequest{Name: layer, Flatten: true, Rate: w.r.FlattenRate})
			tried[layer] = err != nil && CodeOf(err) != CodeLocked
			if err != nil && ctx.Err() == nil {
				w.log.Warn("images read through many others, but this one could not be flattened", "layer", layer, "error", err)
			}
			if err == nil {
				w.announce(ctx, setEvent(EventFlattened, layer))
				continue
			}
		}
		select {
		case <-time.After(w.r.Interval):
		case <-ctx.Done():
			return
		}
	}
}

// nextToFlatten is the leftover to flatten next: the oldest one that gets no more copies, if a
// chain is longer than FlattenDepth. It is empty if there is none.
func (w *monitorRun) nextToFlatten(tried map[string]bool) string {
	v, err := w.sets.scanDevices()
	if err != nil {
		w.log.Warn("cannot inspect the chains of images", "error", err)
		return ""
	}
	sets := v.sets()
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
		if s.Layer && !still && !tried[s.Name] {
			layers = append(layers, s)
		}
	}
	if depth <= w.r.FlattenDepth || len(layers) == 0 {
		return ""
	}
	return slices.MinFunc(layers, func(a, b Set) int { return cmp.Compare(readers(a), readers(b)) }).Name
}
