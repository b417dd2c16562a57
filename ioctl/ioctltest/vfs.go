package ioctltest

import (
	"strings"

	"golang.org/x/sys/unix"
)

// node is an inode. Files of /proc and /sys have their functions set and are
// made anew by every lookup.
type node struct {
	ino    uint64
	mode   uint32
	uid    uint32
	rdev   uint64
	kids   map[string]*node
	list   func() map[string]*node // children of a generated directory
	text   func() string           // contents of a generated file
	set    func(string)            // makes a generated file writable
	link   string
	jump   func() spot // target of a magic link
	data   *sparse
	size   int64
	dirty  bool    // written since the last fsync
	attrs  uint32  // FS_*_FL
	places []place // where FIEMAP says the file is
	holes  bool    // somebody made holes in it: what has no place stays without
	locks  []*file // holders of flock
	lockEx bool
}

// copy is a copy of a file, or of a directory with all in it.
func (n *node) copy() *node {
	c := *n
	c.locks = nil
	if n.data != nil {
		c.data = newSparse()
		for page, b := range n.data.pages {
			c.data.write(page*pageSize, b[:])
		}
	}
	if n.kids != nil {
		c.kids = map[string]*node{}
		for name, kid := range n.kids {
			c.kids[name] = kid.copy()
		}
	}
	return &c
}

func (n *node) is(kind uint32) bool { return n.mode&unix.S_IFMT == kind }

func (n *node) children() map[string]*node {
	if n.list != nil {
		return n.list()
	}
	return n.kids
}

// spot is a node as reached through a mount.
type spot struct {
	mnt  *mount
	n    *node
	path string // as the walk saw it, without symbolic links
}

// walked is the outcome of a path walk. At is empty when only the last
// component is missing.
type walked struct {
	dir  spot
	name string
	at   spot
}

const maxLinks = 40

// walk resolves a path from the caller's root. It fails with ENOENT, and a
// usable dir and name, when only the last component is missing.
func (k *Kernel) walk(path string, follow bool) (walked, error) {
	if path == "" {
		return walked{}, unix.ENOENT
	}
	root := k.root.top()
	stack := []spot{root}
	todo := split(path)
	follow = follow || strings.HasSuffix(path, "/")
	for links := 0; len(todo) > 0; {
		name, rest := todo[0], todo[1:]
		todo = rest
		cur := stack[len(stack)-1]
		if name == ".." {
			stack = stack[:max(1, len(stack)-1)]
			continue
		}
		if !cur.n.is(unix.S_IFDIR) {
			return walked{}, unix.ENOTDIR
		}
		child := cur.n.children()[name]
		if child == nil {
			if len(rest) > 0 {
				return walked{}, unix.ENOENT
			}
			return walked{dir: cur, name: name}, unix.ENOENT
		}
		if child.is(unix.S_IFLNK) && (follow || len(rest) > 0) {
			if links++; links > maxLinks {
				return walked{}, unix.ELOOP
			}
			if child.jump != nil {
				stack = append(stack, child.jump())
				continue
			}
			if strings.HasPrefix(child.link, "/") {
				stack = []spot{root}
			}
			todo = append(split(child.link), rest...)
			continue
		}
		next := spot{mnt: cur.mnt, n: child, path: join(cur.path, name)}
		stack = append(stack, next.mnt.ns.cover(next))
	}
	w := walked{at: stack[len(stack)-1], dir: stack[max(0, len(stack)-2)]}
	if parts := split(path); len(parts) > 0 {
		w.name = parts[len(parts)-1]
	}
	return w, nil
}

func split(path string) []string {
	var parts []string
	for p := range strings.SplitSeq(path, "/") {
		if p != "" && p != "." {
			parts = append(parts, p)
		}
	}
	return parts
}

func join(dir, name string) string {
	if dir == "/" {
		return "/" + name
	}
	return dir + "/" + name
}

func (k *Kernel) newNode(mode uint32) *node {
	k.nextIno++
	n := &node{ino: uint64(k.nextIno), mode: mode, uid: uint32(k.euid)}
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		n.kids = map[string]*node{}
	case unix.S_IFREG:
		n.data = newSparse()
	}
	return n
}

// mkdirAll makes directories for the host's own files; it ignores freezes.
func (k *Kernel) mkdirAll(path string) spot {
	at := ""
	for _, part := range split(path) {
		at += "/" + part
		w, err := k.walk(at, true)
		if err == unix.ENOENT && w.dir.n != nil && w.dir.n.kids != nil {
			w.dir.n.kids[w.name] = k.newNode(unix.S_IFDIR | 0o755)
		}
	}
	w, err := k.walk(path, true)
	if err != nil {
		panic("ioctltest: mkdir " + path + ": " + err.Error())
	}
	return w.at
}

// place puts a node at an absolute path, making its directories.
func (k *Kernel) place(path string, n *node) {
	cut := strings.LastIndexByte(path, '/')
	dir := k.mkdirAll(path[:cut+1])
	dir.n.kids[path[cut+1:]] = n
}

// erase removes what place made, if it is still there.
func (k *Kernel) erase(path string) {
	if w, err := k.walk(path, false); err == nil && w.dir.n.kids != nil {
		delete(w.dir.n.kids, w.name)
	}
}
