package ioctltest

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl/internal/transport"
)

// SysV semaphore constants that x/sys does not have, include/uapi/linux/ipc.h.
const (
	ipcCreat  = 0o1000
	ipcExcl   = 0o2000
	ipcNoWait = 0o4000
	semMax    = 32767
)

// sem is a set of semaphores.
type sem struct {
	key    int32
	mode   int
	values []int
}

func (k *Kernel) semget(key int32, n, flags int) (int, error) {
	for id, s := range k.sems {
		if s.key != key || key == 0 {
			continue
		}
		if flags&ipcCreat != 0 && flags&ipcExcl != 0 {
			return -1, unix.EEXIST
		}
		return id, nil
	}
	if flags&ipcCreat == 0 && key != 0 {
		return -1, unix.ENOENT
	}
	if n <= 0 {
		return -1, unix.EINVAL
	}
	k.nextSem++
	k.sems[k.nextSem] = &sem{key: key, mode: flags & 0o777, values: make([]int, n)}
	return k.nextSem, nil
}

func (k *Kernel) semAt(id, num int) (*sem, error) {
	s := k.sems[id]
	if s == nil || num < 0 || num >= len(s.values) {
		return nil, unix.EINVAL
	}
	return s, nil
}

// semop never sleeps: the only other process that counts, udev, has already
// done its part, so a wait would last until the timeout, or for ever.
func (k *Kernel) semop(id int, op transport.SemOp, timeout time.Duration) error {
	s, err := k.semAt(id, int(op.Num))
	if err != nil {
		return err
	}
	value := s.values[op.Num]
	if op.Op == 0 && value == 0 || op.Op != 0 && value+int(op.Op) >= 0 {
		if value+int(op.Op) > semMax {
			return unix.ERANGE
		}
		s.values[op.Num] += int(op.Op)
		return nil
	}
	if op.Flags&ipcNoWait != 0 || timeout >= 0 {
		return unix.EAGAIN
	}
	return k.hang("semop on key %#x, which nobody will count down", uint32(s.key))
}

func (k *Kernel) semSetval(id, num, value int) error {
	s, err := k.semAt(id, num)
	if err != nil {
		return err
	}
	if value < 0 || value > semMax {
		return unix.ERANGE
	}
	s.values[num] = value
	return nil
}

func (k *Kernel) semGetval(id, num int) (int, error) {
	s, err := k.semAt(id, num)
	if err != nil {
		return -1, err
	}
	return s.values[num], nil
}

func (k *Kernel) semRemove(id int) error {
	if k.sems[id] == nil {
		return unix.EINVAL
	}
	delete(k.sems, id)
	return nil
}
