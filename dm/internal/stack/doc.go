// Package stack reads the block devices of the host: dmsnap's devices with their tables,
// origins and fronts, what is stacked above and below them, and who uses them.
//
// A [Reader] asks the kernel: device-mapper, sysfs, procfs. Its Look lists all devices
// of dmsnap at once as a [View], an immutable index that functions in all packages take
// instead of reading again. Origin gathers the facts of one origin for package plan.
//
// The kernel's tables are the truth: nothing here reads the state directory, and nothing
// here changes anything.
package stack
