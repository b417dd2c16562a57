// Package guard is the second process that ends a window if the first one dies, is
// stopped or exceeds the time limit.
//
// [Guard] is the owner's side, used by dm/guard.go: Start makes the process, Prepare
// sends it a [Spec] of what to resume and thaw, Open and Close bound the window, Stop
// ends the process. [Main] is the whole of the process itself. [Expedite] switches
// /sys/kernel/rcu_expedited for one window; only with a guard is it reset after every
// kind of death, by [EndExpedite] at the latest.
//
// Both sides encode their system calls before the window. Inside it neither may open,
// allocate or log, and the guard takes no lock: what it ends is addressed by device
// number and by descriptors that the owner passed.
package guard
