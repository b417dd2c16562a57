// Package rescue unblocks writers: it resumes the devices and thaws the filesystems that
// a dead operation left suspended or frozen.
//
// recover and thaw in package dm call it, and decide which suspend or freeze is whose. A
// [Rescuer] keeps the order that the window's undo has: bases, then fronts with the
// table they have, then the thaw, which blocks on a suspended device. It writes no file
// and takes no lock, since the state directory may be on what is frozen.
package rescue
