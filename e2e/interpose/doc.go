// Package interpose tests the kernel module by itself, with dmsetup.
package interpose
