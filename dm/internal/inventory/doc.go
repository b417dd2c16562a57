// Package inventory joins the devices in the kernel with the records and intents of the
// state directory, and decides what belongs to which set.
//
// It is pure: package remains and package dm read a stack.View and the journal first. A
// [Set] is what is known of one set, complete or not; from it come the volumes, files
// and media that a removal has to remove. A [Host] is all of them, for recover and
// list. The kernel's tables decide; records only add what tables cannot say.
package inventory
