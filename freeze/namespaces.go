package freeze

import (
	"errors"
	"io/fs"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// view is one way to look at a mount namespace: mountinfo leaves out what a
// process cannot reach from its root directory, so a chrooted process shows
// less than its neighbour.
type view struct{ namespace, root string }

// walker reads the mounts of one namespace after the other.
type walker struct {
	k     *ioctl.Kernel
	table *Table
	views map[view]bool
	seen  map[mountKey]bool
}

type mountKey struct {
	namespace string
	id        int
}

// own reads the mounts of the calling process. It must succeed.
func (w *walker) own() error {
	namespace, err := w.k.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return err
	}
	text, err := w.k.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	w.table.own = namespace
	w.add(string(text), 0, namespace)
	return nil
}

// others reads one mountinfo per view of all threads of the host; a thread can
// have a namespace that its process has not. Threads that end meanwhile took
// their mounts along and are no error.
func (w *walker) others() error {
	names, err := w.k.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := strconv.Atoi(name); err != nil || w.kernelThread(name) {
			continue
		}
		for _, tid := range w.threads(name) {
			w.thread(tid)
		}
	}
	return nil
}

// kernelThread tells processes apart that have no program: half of a host's, and
// all in the first namespace. A process whose first thread has ended has none
// either, but no namespace by that thread.
func (w *walker) kernelThread(pid string) bool {
	dir := path.Join("/proc", pid)
	if _, err := w.k.Readlink(dir + "/exe"); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	_, err := w.k.Readlink(dir + "/ns/mnt")
	return err == nil
}

func (w *walker) threads(pid string) []string {
	tids, err := w.k.ReadDir(path.Join("/proc", pid, "task"))
	if err != nil {
		return []string{pid}
	}
	return tids
}

func (w *walker) thread(tid string) {
	dir := path.Join("/proc", tid)
	pid, err := strconv.Atoi(tid)
	if err != nil {
		return
	}
	namespace, err := w.k.Readlink(dir + "/ns/mnt")
	if err != nil {
		w.refused(pid, "", err)
		return
	}
	root, err := w.k.Readlink(dir + "/root")
	if err != nil {
		w.refused(pid, namespace, err)
		return
	}
	v := view{namespace, root}
	if w.views[v] {
		return
	}
	text, err := w.k.ReadFile(dir + "/mountinfo")
	if err != nil {
		w.refused(pid, namespace, err)
		return
	}
	w.views[v] = true
	w.add(string(text), pid, namespace)
}

// add keeps each mount once, in the view that showed it first: ours, then by
// rising process id.
func (w *walker) add(text string, pid int, namespace string) {
	mounts, odd := parseMounts(text, pid, namespace)
	if namespace == w.table.own && pid != 0 {
		odd = nil // reported when our own view was read
	}
	for _, m := range mounts {
		key := mountKey{namespace, m.ID}
		if !w.seen[key] {
			w.seen[key] = true
			w.table.mounts = append(w.table.mounts, m)
		}
	}
	for _, line := range odd {
		w.table.problem(Problem{Kind: OddLine, Namespace: namespace, PID: pid, Text: line})
	}
}

// refused notes a thread that did not show its mounts, unless it has ended:
// ENOENT and ESRCH, or EINVAL for a zombie.
func (w *walker) refused(pid int, namespace string, err error) {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return
	}
	w.table.problem(Problem{Kind: Unreadable, Namespace: namespace, PID: pid, Err: err})
}

// unseen notes namespaces that only a bind mount of their handle keeps alive:
// no process shows what is mounted in them.
func (w *walker) unseen() {
	visited := map[string]bool{w.table.own: true}
	for v := range w.views {
		visited[v.namespace] = true
	}
	for _, m := range w.table.mounts {
		if m.FSType == "nsfs" && isNamespace(m.Root) && !visited[m.Root] {
			visited[m.Root] = true
			w.table.problem(Problem{Kind: Unseen, Namespace: m.Root, Text: m.Path})
		}
	}
}

// isNamespace: nsfs shows "mnt:[4026532200]" as the root of such a mount.
func isNamespace(root string) bool {
	ok, err := path.Match("mnt:\\[*\\]", root)
	return ok && err == nil
}
