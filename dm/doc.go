// Package dm takes point-in-time snapshots of live block devices: it swaps
// snapshot-origin and snapshot tables of the kernel's device-mapper in below their
// writers. It is the library behind the dmsnap command.
//
// A [Manager] carries operations out. [Manager.Create] takes a [Set]: one image of each
// origin, all of the same instant. [Manager.OpenVolume] and [Manager.Mount] read the
// images; [Manager.Extend] and [Manager.Monitor] make their stores larger before they
// are full; [Manager.Remove] gives the origins their own tables back. [Manager.Prepare]
// is a Create in two parts, for several hosts at once.
//
// If a process dies, the next operation undoes or completes what it left, and
// [Manager.Recover] does only that. A guard, a second process, ends the time in which
// writers are blocked if the first one dies in it: see [Options].Guard.
//
// Every error is an [Error] with a [Code] and a hint. [Receipt] says what a Create
// really did: for how long writers were blocked, and which filesystems were verified as
// frozen.
//
// A Manager may be used by many goroutines and beside other processes: an operation
// locks what it changes. Methods that change nothing take no lock, do not wait and do
// not look at their context, except where they say so.
//
// This package and dm/dmtest are the stable ones of the module: docs/stability.md. The
// guide is docs/library.md, the design docs/architecture.md.
package dm
