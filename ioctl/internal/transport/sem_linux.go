package transport

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands of semctl(2), from include/uapi/linux/sem.h and ipc.h. No IPC_64
// among them: it only matters to the commands that fill a struct.
const (
	ipcRmid = 0
	getVal  = 12
	setVal  = 16
)

// Semget is semget(2). i386 and s390x have the call of its own since Linux 5.1;
// before that only ipc(2), which is not used here.
func (Host) Semget(key int32, n, flags int) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_SEMGET, uintptr(key), uintptr(n), uintptr(flags))
	return result(r, errno)
}

// Semop is semtimedop(2) with one operation, semtimedop_time64(2) on 32-bit
// machines. Both take the two 64-bit numbers of semTimeout.
func (Host) Semop(id int, op SemOp, timeout time.Duration) error {
	var limit *semTimeout
	if timeout >= 0 {
		limit = &semTimeout{sec: int64(timeout / time.Second), nsec: int64(timeout % time.Second)}
	}
	_, _, errno := unix.Syscall6(sysSemtimedop, uintptr(id), uintptr(unsafe.Pointer(&op)), 1,
		uintptr(unsafe.Pointer(limit)), 0, 0)
	_, err := result(0, errno)
	return err
}

// semTimeout is struct __kernel_timespec, the same on every architecture.
type semTimeout struct{ sec, nsec int64 }

// SemSetval is semctl(2) with SETVAL.
func (Host) SemSetval(id, num, value int) error {
	_, err := semctl(id, num, setVal, uintptr(value)<<semValueShift)
	return err
}

// SemGetval is semctl(2) with GETVAL.
func (Host) SemGetval(id, num int) (int, error) { return semctl(id, num, getVal, 0) }

// SemRemove is semctl(2) with IPC_RMID.
func (Host) SemRemove(id int) error {
	_, err := semctl(id, 0, ipcRmid, 0)
	return err
}

func semctl(id, num, command int, arg uintptr) (int, error) {
	r, _, errno := unix.Syscall6(unix.SYS_SEMCTL, uintptr(id), uintptr(num), uintptr(command), arg, 0, 0)
	return result(r, errno)
}
