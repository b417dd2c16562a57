package ioctl

import "unsafe"

// PageSize is the alignment that is enough for O_DIRECT on every device: of memory,
// offsets and lengths.
const PageSize = 4096

// Aligned is memory that begins at a multiple of PageSize.
func Aligned(n int) []byte {
	b := make([]byte, n+PageSize)
	skip := -address(b) & (PageSize - 1)
	return b[skip : skip+uintptr(n) : skip+uintptr(n)]
}

// IsAligned tells whether memory begins at a multiple of PageSize.
func IsAligned(b []byte) bool { return address(b)&(PageSize-1) == 0 }

// address stays what it is: the runtime moves no heap memory.
func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
