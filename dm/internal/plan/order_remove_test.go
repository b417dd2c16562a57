package plan_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

func randomRemoval(r *rand.Rand) plan.RemoveRequest {
	mods := []func(*plan.RemoveVolume){handedOver, bypassed, pending, cleared, notLast, suspended, deadStore, noDevices}
	req := removal()
	for i := range r.IntN(5) {
		v := left(fmt.Sprint("v", i), uint32(i))
		v.Origin.Depth = r.IntN(3)
		for _, m := range r.Perm(len(mods)) {
			if r.IntN(3) == 0 {
				mods[m](&v)
			}
			if v.Origin.Name == "" {
				break // nobody knows more of an origin that nothing leads to
			}
		}
		req.Volumes = append(req.Volumes, v)
	}
	return req
}

// TestRemovePlansKeepTheRules checks what must hold for every teardown, from
// whatever state.
func TestRemovePlansKeepTheRules(t *testing.T) {
	for seed := range uint64(rounds) {
		req := randomRemoval(rand.New(rand.NewPCG(seed, 3)))
		p := plan.Remove(req)
		c := checker{t: t, seed: seed, p: p}
		c.phases()
		c.windowOrderOfRemoval()
		c.groups()
		for _, v := range req.Volumes {
			c.frontAfter(v)
			c.devicesGone(v)
		}
		if !p.Final || p.Steps[len(p.Steps)-1].Action != plan.Settle {
			c.errorf("not final, or nodes do not settle at the end")
		}
		if t.Failed() {
			t.Fatalf("the plan:\n%s", text(p))
		}
	}
}

// windowOrderOfRemoval: bases that are handed over stand still, and images go,
// while all fronts do.
func (c checker) windowOrderOfRemoval() {
	groups := map[plan.Action]int{plan.Suspend: 1, plan.RemoveDevice: 3, plan.Resume: 4}
	last := 0
	for _, s := range c.p.In(plan.Window) {
		group := groups[s.Action]
		if s.Role == plan.RoleBase {
			group = 2
		}
		if group < last || group == 0 {
			c.errorf("%s at the wrong place in the window", s)
		}
		last = group
	}
}

// frontAfter: a front that was suspended, by us or before us, runs in the end; it
// loses its snapshot-origin if and only if no image stays, before its images go.
func (c checker) frontAfter(v plan.RemoveVolume) {
	o := v.Origin
	if o.Name == "" {
		return
	}
	suspend, resume := c.at(plan.Window, plan.Suspend, o.Name), c.at(plan.Window, plan.Resume, o.Name)
	if (suspend < 0) != (resume < 0) || resume < suspend {
		c.errorf("%s is suspended at %d, resumed at %d", o.Name, suspend, resume)
	}
	if o.Suspended && resume < 0 {
		c.errorf("%s stays suspended", o.Name)
	}
	load := c.at(plan.Prepare, plan.LoadTable, o.Name)
	switch restored := v.Last && o.Base.Fronted; {
	case restored != (load >= 0):
		c.errorf("%s: own table loaded at %d", o.Name, load)
	case restored && (!c.p.Steps[load].Table.Equal(o.Base.Table) || resume < 0):
		c.errorf("%s does not get its own table back", o.Name)
	case restored && !c.p.Steps[load].Undo.Table.Equal(o.Table):
		c.errorf("%s would be given %s for %s", o.Name, c.p.Steps[load].Undo.Table, o.Table)
	}
	disengaged := c.at(plan.Window, plan.Suspend, o.Base.Name)
	if alone := plan.HandedOver(o.Base.Table); (alone && v.Last && o.Base.Fronted) != (disengaged >= 0) || disengaged > resume {
		c.errorf("%s is disengaged at %d, its front resumed at %d", o.Base.Name, disengaged, resume)
	}
	clear := c.at(plan.Prepare, plan.ClearTable, o.Name)
	clears := o.Base.Pending || o.Base.Own && v.Last && !plan.HandedOver(o.Base.Table)
	if clears != (clear >= 0) || clear >= 0 && load >= 0 && load < clear {
		c.errorf("%s: pending table cleared at %d", o.Name, clear)
	}
	if image := c.at(plan.Window, plan.RemoveDevice, v.Image); image >= 0 && (image < suspend || image > resume) {
		c.errorf("%s goes while %s runs", v.Image, o.Name)
	}
}

// devicesGone: each goes once, from the top down; a base stays if others need it.
func (c checker) devicesGone(v plan.RemoveVolume) {
	gone := func(name string) int {
		window, finish := c.at(plan.Window, plan.RemoveDevice, name), c.at(plan.Finish, plan.RemoveDevice, name)
		if name != "" && (window < 0) == (finish < 0) {
			c.errorf("%s is removed at %d and %d", name, window, finish)
		}
		return max(window, finish)
	}
	image, store := gone(v.Image), gone(v.Store)
	if v.Store != "" && store < image {
		c.errorf("%s goes before its image", v.Store)
	}
	wipe := c.at(plan.Finish, plan.WipeHeader, v.Store)
	if (v.StoreSize != 0) != (wipe >= 0) || wipe >= 0 && (wipe < image || wipe > store) {
		c.errorf("%s: header wiped at %d, image gone at %d, store at %d", v.Store, wipe, image, store)
	}
	if base := c.at(plan.Finish, plan.RemoveDevice, v.Origin.Base.Name); v.Last != (base >= 0) || v.Last && base < max(image, store) {
		c.errorf("%s is removed at %d", v.Origin.Base.Name, base)
	}
	if v.Image != "" && !v.Last && v.Origin.Base.Fronted && c.at(plan.Window, plan.RemoveDevice, v.Image) < 0 {
		c.errorf("%s has siblings and goes while its front runs", v.Image)
	}
}
