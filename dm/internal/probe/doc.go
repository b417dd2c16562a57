// Package probe identifies the contents of a block device by its superblock.
//
// [Identify] finds the filesystem of an image that is to be mounted; [IdentifyDevice]
// also finds any signature, at either end, that forbids to use a device as a store, and
// [FromUdev] gives udev's opinion. It knows what servers have, not all that blkid does.
// It reads from what its caller opened and never writes.
package probe
