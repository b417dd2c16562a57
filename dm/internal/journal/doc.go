// Package journal keeps what the kernel cannot: the records of sets, the intents of
// operations in progress, and the locks that keep operations apart.
//
// A [Dir] is a state directory. A [Set] is the record of a set, written once the set
// exists and deleted after its devices. An [Intent] is written before an operation's first step and deleted
// after its outcome is on disk: one whose locks are free belongs to an interrupted
// operation. [Locks] are flock(2) locks on files in [HostLocks], which the kernel drops
// when the process dies; an operation takes all it needs or none.
//
// All files are small, written whole, synced and renamed, and then their directory is
// synced. Nothing is written inside a window, and no lock is waited for while another
// is held.
package journal
