// Package ioctltest is a Linux kernel in memory, as far as package ioctl looks
// at one: device-mapper behind its binary ioctl interface, block devices with
// contents, filesystems that freeze, mounts and processes in /proc, devices in
// /sys, a small file tree, SysV semaphores and a udev that answers at once.
// Code that takes an *ioctl.Kernel runs against it without root and without a
// host that has device-mapper.
//
//	k := ioctltest.New(ioctltest.Options{Release: "6.1.0", Udev: true})
//	k.AddDisk("vdc", ioctl.DevNo{Major: 252, Minor: 32}, 64<<20)
//	home := k.AddDM("vg-home", "LVM-abc", ioctltest.Row{
//		Length: 32768, Type: "linear", Params: "252:32 0"})
//	k.Mount(home, "/home", "ext4")
//	before := k.Snapshot()
//	k.Fail(func(c ioctltest.Call) error {
//		if c.Request == "DM_DEV_SUSPEND" {
//			return unix.EIO
//		}
//		return nil
//	})
//	err := codeUnderTest(k.Border())
//	// err is set, k.Snapshot() == before, len(k.Hangs()) == 0
//
// The encoder and decoder here share nothing with package ioctl: the two check
// each other. A conformance suite, in the tests of this package, runs the same
// cases on this kernel and on real ones.
//
// Files are named by what they play: vfs_ (files, mounts, freeze), block_ (disks,
// loop devices), dm_ (devices, tables, targets), proc_ (/proc and /sys), ipc_
// (semaphores, udev), host_ (what a test sets up).
//
// A call that would sleep for ever on a real kernel (a write to a suspended
// device, a thaw above one, a status of a suspended dm-era) does not sleep:
// it fails with EDEADLK and is noted in [Kernel.Hangs].
package ioctltest
