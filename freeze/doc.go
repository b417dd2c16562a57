// Package freeze finds the filesystems of block devices, in every mount namespace, and
// freezes, verifies and thaws them.
//
// How it is used:
//
//	table, err := freeze.Mounts(k)                    // what is mounted where
//	plan := table.Plan(freeze.Device{DevNo: origin, Front: true})
//	set, err := freeze.Open(k, plan)                  // descriptors open and verified
//	defer set.Close()                                 // thaws what is still frozen
//	for _, h := range set.Handles() {                 // in this order
//		err = h.SyncFS()                          // before the window: less to write in it
//	}
//	...                                               // the window: Freeze, Prove, Thaw of each Handle
//
// A caller that suspends devices between the freezes and the thaws must keep these
// rules, all verified on Linux 6.1, 6.12 and 7.2:
//
//   - A filesystem that was frozen here is suspended with SKIP_LOCKFS. Both kinds
//     of freeze on one device leave it unable to freeze again.
//   - Resume before thaw: a thaw blocks while the device beneath is suspended,
//     and so does a freeze, the proving one included.
//   - A freeze outlives the process. EBUSY at the first freeze means that another
//     process froze the filesystem; it is never thawed here. [Rescue] thaws what a
//     dead process left frozen.
//
// The package opens no path inside the window and starts no goroutine. System
// calls in flight cannot be cancelled.
//
// It comes without a promise: dmsnap's own parts change as dmsnap needs it. Programs
// use package dm (docs/stability.md).
package freeze
