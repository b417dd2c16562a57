package dm

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// What a monitor folds by itself.
const (
	defaultFoldDepth = 16
	defaultFoldRate  = 16 << 20 // bytes a second
)

// flattenDeepChains folds what is left of removed sets where images read through too many,
// one after the other. That may take long, and stores must not wait for it. What
// could not be folded is not tried again: somebody has to make room.
func (w *watch) flattenDeepChains(ctx context.Context) {
	tried := map[string]bool{}
	for {
		if layer := w.deep(tried); layer != "" {
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

// deep is what is to be folded next: the oldest of what is left of removed sets
// and takes no copies any more, if an image reads through too many others.
func (w *watch) deep(tried map[string]bool) string {
	v, err := w.scanDevices()
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
			depth = max(depth, vol.Layers)
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
