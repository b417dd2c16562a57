// Package targets holds device-mapper tables and status lines as types and as
// text. It is pure: no system call, no log line, no decision; the same input
// always gives the same output. Lengths and offsets are 512-byte [Sectors]
// whatever the logical block size of the device, as in the kernel's own tables.
//
// A [Table] is a list of [Row]; a row carries a [Target]. Targets that dmsnap
// builds itself have a type of their own ([Linear], [Origin], [Snapshot], ...);
// every other one is a [Raw], whose text is kept to the byte. [Target] is open:
// callers may bring their own.
//
// Parse functions read what a kernel prints and are lenient where kernels
// differ (a chunk size of 0 while a handover is pending, features of a newer
// kernel). Validate methods are strict: they say what may be loaded.
//
// It comes without a promise: dmsnap's own parts change as dmsnap needs it. Programs
// use package dm (docs/stability.md).
package targets
