// Package slot empties the inactive slots of devices that have a live table.
//
// A plain DM_TABLE_CLEAR empties them too, but leaves the kernel with two pointers to one
// description of the live table, which a later rename and whatever changes the slot next
// both free (docs/kernel-notes.md). So a table that equals the live one is loaded in place
// of what waits, and swapped in. A clear is for where that cannot be.
//
//	[Renew]       a device that runs: what waits is dropped, and what a clear left ended
//	[Release]     a suspended device: it runs again, on the table that it has
//	[Drop]        either
//	[RenewFront]  a front that the guard resumed: under the locks of its origin and of its
//	              volume group, since another operation may have it by now
//	[Rename]      gives a device another name, whatever was cleared from its slot before
package slot
