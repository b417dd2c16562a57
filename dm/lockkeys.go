package dm

import (
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
)

// storeKeys are the locks of a store. Its device is exclusive: an operation that takes it for
// another store, or makes it an origin, waits. What it stands on is shared with
// others that do, two partitions of one disk for example, but no origin and no
// store meanwhile: else two sets could each have their store on the other's origin,
// and each copy would wait for one of the other.
func storeKeys(read *stack.Reader, st plan.Store) (keys []string, err error) {
	if st.Backing == plan.Memory {
		return nil, nil
	}
	beneath := st.Beneath
	if st.Backing == plan.Whole {
		keys = append(keys, journal.OriginKey(st.Dev.String()))
	}
	own, err := read.Beneath(st.Dev)
	if err != nil {
		return nil, err
	}
	for _, d := range append(own, beneath...) {
		keys = append(keys, journal.BeneathKey(d.String()))
		disk, is, err := read.Whole(d)
		if err != nil {
			return nil, err
		}
		if is {
			keys = append(keys, journal.BeneathKey(disk.String()))
		}
	}
	return keys, nil
}

// namedStoreKeys are those of a store that is a device, by the path that was given.
// What cannot be found is refused later, when the store is looked at.
func namedStoreKeys(read *stack.Reader, spec string) []string {
	if !strings.HasPrefix(spec, "/") {
		return nil
	}
	dev, err := read.Resolve(spec, nil)
	if err != nil {
		return nil
	}
	keys, err := storeKeys(read, plan.Store{Dev: dev})
	if err != nil {
		return nil
	}
	return keys
}

// setKeys are the locks of a set: of its name, of itself, and of its origins.
func setKeys(r plan.RemoveRequest) []string {
	return append(originKeys(r), journal.SetKey(r.Set), journal.IDKey(r.ID))
}

func originKeys(r plan.RemoveRequest) (keys []string) {
	for _, v := range r.Volumes {
		if v.Origin.Known() {
			keys = append(keys, journal.OriginKey(v.Origin.Dev.String()))
		}
	}
	return keys
}
