// Package freeze finds the filesystems of block devices, in every mount
// namespace, and holds them still: freeze, prove, thaw.
//
// The way through the package:
//
//	table, err := freeze.Mounts(k)                    // what is mounted where
//	plan := table.Plan(freeze.Device{DevNo: origin, Front: true})
//	set, err := freeze.Open(k, plan)                  // descriptors open and verified
//	defer set.Close()                                 // thaws what is still held
//	for _, h := range set.Handles() {                 // in this order
//		err = h.SyncFS()                          // before the window: less to write in it
//	}
//	...                                               // the window: Freeze, Prove, Thaw of each Handle
//
// Whoever suspends devices between the freezes and the thaws keeps these rules,
// all verified on Linux 6.1, 6.12 and 7.2:
//
//   - A filesystem that was frozen here is suspended with SKIP_LOCKFS. Both kinds
//     of freeze on one device leave it unable to freeze again.
//   - Resume before thaw: a thaw blocks while the device beneath is suspended,
//     and so does a freeze, the proving one included.
//   - A freeze outlives the process. EBUSY at the first freeze means that
//     somebody else holds it; that one is never thawed here. [Rescue] thaws what a
//     dead process left.
//
// The package opens no path inside the window and starts no goroutine. System
// calls in flight cannot be cancelled.
//
// It comes without a promise: dmsnap's own parts change as dmsnap needs it. Programs
// use package dm (docs/stability.md).
package freeze
