package dm

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/targets"
)

// Graph is the stack as it is now: our devices, the origins they belong to, and
// everything above and beneath them.
type Graph struct {
	Nodes []GraphNode `json:"nodes"` // those that nothing stands on first; by number among equals
}

// GraphNode is one device.
type GraphNode struct {
	Devno     DevNo    `json:"devno"`
	Name      string   `json:"name"` // its device-mapper name, or else the kernel's
	Role      Role     `json:"role"`
	Targets   string   `json:"targets"`
	SizeBytes uint64   `json:"size_bytes"`
	Suspended bool     `json:"suspended"`
	Mounts    []string `json:"mounts"`
	File      string   `json:"file,omitempty"` // a loop device's
	Lower     []DevNo  `json:"lower"`          // numbers of the devices it stands on

	// Of images and stores only.
	Set       string  `json:"set,omitempty"`
	Volume    string  `json:"volume,omitempty"`
	State     State   `json:"state,omitempty"`
	UsedBytes *uint64 `json:"used_bytes,omitempty"` // of a store
}

// Graph draws nothing, but has all that a drawing needs. With origins named, as
// for Create, or sets, only what belongs to them is in it. It takes no lock and
// opens no block device.
func (m *Manager) Graph(_ context.Context, names ...string) (g *Graph, err error) {
	s, err := m.open("graph", "")
	if err != nil {
		return nil, err
	}
	defer s.close()
	g, err = s.sets.graph(names)
	return g, s.fail(err)
}

// grapher collects nodes.
type grapher struct {
	*view
	sets  []Set
	nodes map[targets.DevNo]*GraphNode
}

func (l *lister) graph(names []string) (*Graph, error) {
	v, err := l.look()
	if err != nil {
		return nil, err
	}
	b := grapher{view: v, sets: v.sets(), nodes: map[targets.DevNo]*GraphNode{}}
	seeds, err := b.findSeeds(names)
	if err != nil {
		return nil, err
	}
	for _, d := range seeds {
		if err := b.add(d); err != nil {
			return nil, err
		}
	}
	return &Graph{Nodes: b.sortNodes()}, nil
}

// findSeeds are the devices to begin with: all of ours, all origins and what stands
// on those; or, of all these, what is connected with what was named.
func (b *grapher) findSeeds(names []string) ([]targets.DevNo, error) {
	groups := map[targets.DevNo]targets.DevNo{} // device to the base it belongs to
	var all []targets.DevNo
	put := func(d, base targets.DevNo) {
		all = append(all, d)
		groups[d] = base
	}
	for d := range b.Devices() {
		base := d.Dev
		if over := b.OnLower(d); d.Role == plan.RoleLower && over != nil {
			base = over.Dev
		} else if d.Role != plan.RoleBase {
			base = b.baseOf(d)
		}
		put(d.Dev, base)
	}
	for base, front := range b.fronts {
		if front == nil {
			continue
		}
		above, err := b.from.read.Above(front.Dev)
		if err != nil {
			return nil, err
		}
		for _, d := range above {
			put(d, base)
		}
	}
	if len(names) == 0 {
		return all, nil
	}
	wanted := map[targets.DevNo]bool{}
	for _, name := range names {
		found, err := b.findNamed(name)
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			wanted[cmp.Or(groups[d], d)] = true
			all = append(all, d)
		}
	}
	return slices.DeleteFunc(all, func(d targets.DevNo) bool { return !wanted[cmp.Or(groups[d], d)] }), nil
}

// baseOf is the base an image or store belongs to: the first one beneath it, or
// beneath its set's image of the same volume.
func (b *grapher) baseOf(d stack.Device) targets.DevNo {
	image := b.Snapshot(d.ID, d.Volume)
	if image == nil {
		return d.Dev
	}
	beneath, err := b.from.read.Beneath(image.Dev)
	if err != nil {
		return d.Dev
	}
	for _, low := range beneath {
		if b.Base(low) != nil {
			return low
		}
	}
	return image.Dev
}

// findNamed finds the images of a set, or a device and all that stands on it.
func (b *grapher) findNamed(name string) (found []targets.DevNo, err error) {
	set, dev, err := b.findSubject(name, b.sets)
	if err != nil {
		return nil, err
	}
	if set == nil {
		return b.from.read.Above(dev)
	}
	for _, v := range set.Volumes {
		if v.Devno != (DevNo{}) {
			found = append(found, v.Devno)
		}
	}
	return found, nil
}

// findSubject is what a user means by a name: a set, or else an origin.
func (v *view) findSubject(name string, sets []Set) (*Set, targets.DevNo, error) {
	for i := range sets {
		if sets[i].Name == name {
			return &sets[i], targets.DevNo{}, nil
		}
	}
	if !path.IsAbs(name) && !strings.Contains(name, "=") {
		return nil, targets.DevNo{}, plan.Refuse(plan.NotFound, "", "dmsnap list shows existing sets; an origin is a path or a tag", "there is no set %s", name)
	}
	dev, err := v.from.read.Resolve(name, v.mounts)
	return nil, dev, err
}

// add puts a device and all beneath it into the graph.
func (b *grapher) add(d targets.DevNo) error {
	if b.nodes[d] != nil {
		return nil
	}
	found, err := b.from.read.Describe(d)
	if err != nil {
		return err
	}
	n := &GraphNode{
		Devno: d, Name: cmp.Or(found.Name, d.String()), Role: b.role(found), Targets: found.Targets,
		SizeBytes: found.Size.Bytes(), Suspended: found.Suspended, Mounts: []string{}, File: found.File, Lower: []DevNo{},
	}
	b.nodes[d] = n
	for _, m := range b.mounts.Of(d) {
		if m.PID == 0 && !slices.Contains(n.Mounts, m.Path) {
			n.Mounts = append(n.Mounts, m.Path)
		}
	}
	b.describe(n, found)
	for _, low := range found.Lower {
		n.Lower = append(n.Lower, low)
		if err := b.add(low); err != nil {
			return err
		}
	}
	return nil
}

func (b *grapher) role(n stack.Node) Role {
	if _, _, role, ok := plan.ParseUUID(n.UUID); ok {
		return Role(role)
	}
	for _, front := range b.fronts {
		if front != nil && front.Dev == n.Dev {
			return RoleFront
		}
	}
	return RoleDevice
}

// describe says which volume of which set an image or store is of.
func (b *grapher) describe(n *GraphNode, found stack.Node) {
	id, volume, role, ok := plan.ParseUUID(found.UUID)
	if !ok {
		return
	}
	i := slices.IndexFunc(b.sets, func(s Set) bool { return s.UUID == id })
	if i < 0 {
		return
	}
	at := slices.IndexFunc(b.sets[i].Volumes, func(v Volume) bool { return v.number == volume })
	if at < 0 {
		return
	}
	v := b.sets[i].Volumes[at]
	n.Set, n.Volume, n.State = b.sets[i].Name, v.Name, v.State
	if role == plan.RoleStore {
		n.State, n.UsedBytes = "", v.Store.UsedBytes
	}
}

// sortNodes puts those first that nothing stands on: origins, then images; the
// rest follows by number.
func (b *grapher) sortNodes() []GraphNode {
	lower := map[DevNo]bool{}
	for _, n := range b.nodes {
		for _, l := range n.Lower {
			lower[l] = true
		}
	}
	rank := func(n GraphNode) int {
		switch {
		case lower[n.Devno]:
			return 2
		case n.Role == RoleImage:
			return 1
		}
		return 0
	}
	out := make([]GraphNode, 0, len(b.nodes))
	for _, n := range b.nodes {
		out = append(out, *n)
	}
	slices.SortFunc(out, func(x, y GraphNode) int {
		return cmp.Or(cmp.Compare(rank(x), rank(y)), cmp.Compare(x.Devno.Major, y.Devno.Major), cmp.Compare(x.Devno.Minor, y.Devno.Minor))
	})
	return out
}
