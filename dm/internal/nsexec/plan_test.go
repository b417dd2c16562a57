package nsexec_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/nsexec"
)

// A host: root, /home with a mount below it and a bind mount elsewhere, kernel
// filesystems, a network share.
func host() []nsexec.Mount {
	return []nsexec.Mount{
		{ID: 1, Parent: 0, Dev: "254:0", Root: "/", Path: "/", FSType: "ext4"},
		{ID: 2, Parent: 1, Dev: "0:5", Root: "/", Path: "/proc", FSType: "proc"},
		{ID: 3, Parent: 1, Dev: "0:6", Root: "/", Path: "/run", FSType: "tmpfs"},
		{ID: 4, Parent: 1, Dev: "254:1", Root: "/", Path: "/home", FSType: "ext4"},
		{ID: 5, Parent: 4, Dev: "0:40", Root: "/", Path: "/home/share", FSType: "nfs4"},
		{ID: 6, Parent: 1, Dev: "254:1", Root: "/www", Path: "/srv/www", FSType: "ext4"},
	}
}

func program(origins ...string) nsexec.Program {
	p := nsexec.Program{Over: true}
	for i, o := range origins {
		p.Images = append(p.Images, nsexec.Image{Device: fmt.Sprint("/dev/image", i), Origin: o})
	}
	return p
}

func ops(l nsexec.Layout) (all []string) {
	for _, o := range l.Ops {
		line := strings.TrimSpace(fmt.Sprintf("%s %s %s", o.Do, o.From, o.To))
		if o.Optional {
			line += " ?"
		}
		all = append(all, strings.Join(strings.Fields(line), " "))
	}
	return all
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name    string
		mounts  []nsexec.Mount
		program nsexec.Program
		ops     []string
		live    []string
		leftOut []string
	}{
		{
			name: "every mount point of the origin, what is below put back", mounts: host(), program: program("254:1"),
			ops: []string{
				"take /home/share held1", "drop /home", "lay image0 /home ?", "mask /home/.dmsnap", "put held1 /home/share ?",
				"drop /srv/www", "lay image0/www /srv/www ?",
			},
			live: []string{"/home/share"},
		},
		{
			name: "the root comes last, and takes all along", mounts: host(), program: program("254:0", "254:1"),
			ops: []string{
				"take /home/share held1", "drop /home", "lay image1 /home ?", "mask /home/.dmsnap", "put held1 /home/share ?",
				"drop /srv/www", "lay image1/www /srv/www ?",
				"take /home held2", "take /proc held3", "take /run held4", "take /srv/www held5",
				"lay image0 root", "mask root/.dmsnap",
				"put held2 root/home", "put held3 root/proc ?", "put held4 root/run ?", "put held5 root/srv/www",
				"pivot root",
			},
			live: []string{"/home/share"},
		},
		{
			name: "only the set", mounts: host(), program: func() nsexec.Program { p := program("254:1"); p.Only = true; return p }(),
			ops: []string{
				"take /home/share held1", "drop /home", "lay image0 /home ?", "mask /home/.dmsnap",
				"drop /srv/www", "lay image0/www /srv/www ?",
			},
			leftOut: []string{"/home/share"},
		},
		{
			name: "writable directories, bound while all is live", mounts: host(),
			program: func() nsexec.Program {
				p := program("254:1")
				p.Writable = []nsexec.Hole{{Path: "/home/repo", Asked: true}, {Path: "/home/me/.cache"}, {Path: "/run"}, {Path: "/tmp"}}
				return p
			}(),
			ops: []string{
				"bind /home/repo held1", "bind /home/me/.cache held2", "take /home/share held3", "drop /home", "lay image0 /home ?", "mask /home/.dmsnap",
				"put held2 /home/me/.cache ?", "put held1 /home/repo", "put held3 /home/share ?",
				"drop /srv/www", "lay image0/www /srv/www ?",
			},
			live: []string{"/home/share"},
		},
		{
			name: "what was mounted over stays out of sight",
			mounts: append(host(), nsexec.Mount{ID: 7, Parent: 1, Dev: "254:1", Root: "/", Path: "/old", FSType: "ext4"},
				nsexec.Mount{ID: 8, Parent: 7, Dev: "0:50", Root: "/", Path: "/old", FSType: "tmpfs"}),
			program: program("254:1"),
			ops: []string{
				"take /home/share held1", "drop /home", "lay image0 /home ?", "mask /home/.dmsnap", "put held1 /home/share ?",
				"drop /srv/www", "lay image0/www /srv/www ?",
			},
			live: []string{"/home/share"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := nsexec.Plan(c.mounts, c.program)
			if err != nil {
				t.Fatal(err)
			}
			if got := ops(l); !slices.Equal(got, c.ops) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.ops, "\n"))
			}
			if !slices.Equal(l.Live, c.live) || !slices.Equal(l.LeftOut, c.leftOut) {
				t.Errorf("live %q left out %q", l.Live, l.LeftOut)
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	only := program("254:9")
	only.Only = true
	live := program("254:1")
	live.Writable = []nsexec.Hole{{Path: "/home", Asked: true}}
	below := append(host(), nsexec.Mount{ID: 9, Parent: 5, Dev: "254:0", Root: "/", Path: "/home/share/deep", FSType: "ext4"})
	deep := program("254:0", "254:1")
	deep.Only = true
	for _, c := range []struct {
		mounts  []nsexec.Mount
		program nsexec.Program
		why     string
	}{
		{host(), only, "not mounted here"},
		{host(), live, "cannot be both live and an image"},
		{below, deep, "is in the set"},
		{host()[1:], program("254:1"), "no mount point"},
	} {
		if _, err := nsexec.Plan(c.mounts, c.program); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%v, want one with %q", err, c.why)
		}
	}
}
