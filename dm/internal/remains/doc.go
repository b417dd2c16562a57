// Package remains reads what exists of a set, whatever state an operation left it in:
// from the kernel's tables, the state directory, and the names of files on mounted
// filesystems.
//
// [Reader].Removal gives the facts from which package plan makes a removal, an undo or a
// recovery. Set and Host give them to package inventory, which decides; LeftFiles are
// store files that belong to no known set. A Reader changes nothing, and takes no lock:
// its callers in package dm have them.
package remains
