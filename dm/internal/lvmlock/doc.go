// Package lvmlock takes the lock that every command of lvm2 takes for a volume group
// before it changes one of its volumes. Whoever holds it may load, rename and resume a
// logical volume without lvm2 doing the same.
//
// [Take] waits for a group's lock. The [Lock] ends by Unlock; by Drop if its file may lie
// on what is still frozen; or by itself after a limit, which Locked tells: lvm2 must not
// wait for ever, as dmsnap may itself be waiting for one of its programs. Which group a
// device belongs to, plan.Group knows. Package run takes the
// locks of an operation's fronts (the steps plan.LockGroup and plan.UnlockGroup),
// package slot that of a front which it has to reload.
//
// A group that lvm2 has for too long is a [BusyError], one that dmsnap has had for too
// long a [LostError], a lock directory that does not work a [DirError].
//
// The protocol is lvm2's (lib/misc/lvm-flock.c, lib/locking/file_locking.c):
//
//	file      <locking_dir>/V_<group>, opened O_CREAT|O_APPEND|O_RDWR
//	take      flock; then the path must still lead to that file, else once more
//	priority  a writer holds <file>:aux while it waits, so that readers queue behind it
//	unlock    unlink the file with the lock held, then close it
//
// The kernel drops the lock with the process that has it.
package lvmlock
