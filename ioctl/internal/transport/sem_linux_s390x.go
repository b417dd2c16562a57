package transport

import "golang.org/x/sys/unix"

// semctl(2) passes union semun in a register. On a 64-bit big-endian machine the
// int of the union is the upper half (ipc/sem.c, "val = arg >> 32").
const (
	sysSemtimedop = unix.SYS_SEMTIMEDOP
	semValueShift = 32
)
