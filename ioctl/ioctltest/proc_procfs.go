package ioctltest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// process is what /proc tells of a process.
type process struct {
	comm  string
	ns    *namespace
	start uint64   // when it started, in whatever the clock ticks
	files []string // paths it has open, besides the descriptors of the test's own
}

// Generated nodes get numbers far from those of real ones.
const generatedIno = 1 << 40

func dir(list func() map[string]*node) *node {
	return &node{ino: generatedIno, mode: unix.S_IFDIR | 0o555, list: list}
}

func fixedDir(kids map[string]*node) *node {
	return dir(func() map[string]*node { return kids })
}

func textFile(text func() string) *node {
	return &node{ino: generatedIno, mode: unix.S_IFREG | 0o444, text: text}
}

func fixedText(text string) *node { return textFile(func() string { return text }) }

func symlink(target string) *node {
	return &node{ino: generatedIno, mode: unix.S_IFLNK | 0o777, link: target}
}

func (k *Kernel) procRoot() map[string]*node {
	kids := map[string]*node{
		"self":        symlink(strconv.Itoa(k.pid)),
		"mounts":      symlink("self/mounts"),
		"misc":        fixedText(fmt.Sprintf("%d loop-control\n%d device-mapper\n", loopControlMinor, controlMinor)),
		"devices":     fixedText(fmt.Sprintf("Block devices:\n%3d loop\n%d device-mapper\n", loopMajor, DMMajor)),
		"modules":     textFile(k.procModules),
		"swaps":       fixedText("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
		"filesystems": fixedText("nodev\ttmpfs\n\text4\n\txfs\n\tbtrfs\n\tvfat\n"),
		"cmdline":     fixedText("root=/dev/vda1\n"),
		"meminfo":     fixedText("MemTotal:        4000000 kB\nMemFree:         2000000 kB\nMemAvailable:    3000000 kB\n"),
		"uptime":      textFile(func() string { return fmt.Sprintf("%.2f 1000.00\n", k.uptime.Seconds()) }),
		"sys": fixedDir(map[string]*node{"kernel": fixedDir(map[string]*node{
			"osrelease": fixedText(k.opts.Release + "\n"),
			"random": fixedDir(map[string]*node{
				"boot_id": textFile(func() string { return fmt.Sprintf("00000000-0000-4000-8000-%012d\n", k.boots) }),
			}),
		})}),
	}
	for pid := range k.procs {
		kids[strconv.Itoa(pid)] = dir(func() map[string]*node { return k.procDir(pid) })
	}
	return kids
}

func (k *Kernel) procModules() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(k.modules)) {
		fmt.Fprintf(&b, "%s 16384 0 - Live 0x0000000000000000\n", name)
	}
	return b.String()
}

// procDir is /proc/<pid>. All processes have one thread.
func (k *Kernel) procDir(pid int) map[string]*node {
	kids := k.threadDir(pid)
	kids["task"] = dir(func() map[string]*node {
		return map[string]*node{strconv.Itoa(pid): dir(func() map[string]*node { return k.threadDir(pid) })}
	})
	return kids
}

func (k *Kernel) threadDir(pid int) map[string]*node {
	p := k.procs[pid]
	if p == nil {
		return nil
	}
	rootLink := symlink("/")
	rootLink.jump = p.ns.top
	nsLink := symlink(fmt.Sprintf("mnt:[%d]", p.ns.id))
	nsLink.jump = func() spot {
		return spot{mnt: p.ns.mounts[0], n: &node{ino: p.ns.id, mode: unix.S_IFREG | 0o444, text: func() string { return "" }}}
	}
	kids := map[string]*node{
		"comm":      fixedText(p.comm + "\n"),
		"cmdline":   fixedText(p.comm + "\x00"),
		"stat":      fixedText(fmt.Sprintf("%d (%s) S 1 %d %d 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n", pid, p.comm, pid, pid, p.start)),
		"status":    fixedText(fmt.Sprintf("Name:\t%s\nPid:\t%d\nPPid:\t1\nUid:\t%d\t%d\t%d\t%d\n", p.comm, pid, k.euid, k.euid, k.euid, k.euid)),
		"mountinfo": textFile(p.ns.mountinfo),
		"mounts":    textFile(p.ns.mountList),
		"root":      rootLink,
		"cwd":       rootLink,
		"exe":       symlink("/usr/bin/" + p.comm),
		"ns":        fixedDir(map[string]*node{"mnt": nsLink}),
		"fd":        dir(func() map[string]*node { return k.fdDir(pid) }),
	}
	if pid == k.pid {
		kids["fdinfo"] = dir(k.fdInfo)
	}
	return kids
}

func (ns *namespace) mountinfo() string {
	var b strings.Builder
	for _, m := range ns.mounts {
		b.WriteString(m.info())
	}
	return b.String()
}

func (ns *namespace) mountList() string {
	var b strings.Builder
	for _, m := range ns.mounts {
		fmt.Fprintf(&b, "%s %s %s %s,relatime 0 0\n", escape(m.sb.source), escape(m.at), m.sb.fstype, rw(m.readOnly()))
	}
	return b.String()
}

func (k *Kernel) fdDir(pid int) map[string]*node {
	kids := map[string]*node{}
	if pid == k.pid {
		for fd, f := range k.fds {
			link := symlink(f.path)
			link.jump = func() spot { return spot{mnt: f.mnt, n: f.n} }
			kids[strconv.Itoa(fd)] = link
		}
		return kids
	}
	for i, path := range k.procs[pid].files {
		kids[strconv.Itoa(3+i)] = symlink(path)
	}
	return kids
}

func (k *Kernel) fdInfo() map[string]*node {
	kids := map[string]*node{}
	for fd, f := range k.fds {
		kids[strconv.Itoa(fd)] = fixedText(fmt.Sprintf("pos:\t%d\nflags:\t0%o\nmnt_id:\t%d\nino:\t%d\n", f.pos, f.flags, f.mnt.id, f.n.ino))
	}
	return kids
}
