package ioctl

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl/internal/transport"
)

// Cookie waits for udev to finish with the uevents of several calls. It is a
// System V semaphore by the protocol of libdevmapper (libdm-common.c), which the
// rule 95-dm-notify.rules answers with "dmsetup udevcomplete":
//
//	step                what                        why
//	NewCookie, Make     semget 0x0D4Dxxxx, 0600,    xxxx is random and not 0; 0 means
//	                    exclusive; value 1          "no cookie". The 1 is ours: the value
//	                                                must not reach 0 before Wait
//	Event               +1                          before the call: udev may answer
//	                                                before the ioctl returns
//	the call            event_nr = flags<<16|xxxx   the kernel hands it out as DM_COOKIE
//	udev is done        -1                          "dmsetup udevcomplete", after the rules
//	Settle              -1 unless the call made     udev would not
//	                    its uevent
//	Wait                -1 for our own, then wait   EINTR: wait on with the time left;
//	                    for 0                       EIDRM: the set was removed
//	                                                (dmsetup udevcomplete_all): over
//	Wait, in any case   IPC_RMID                    sets outlive processes, and the
//	                                                machine has few
//
// Never wait while a device that udev, dmsetup or root needs is suspended.
//
// A nil *Cookie is valid everywhere and stands for a host without udev: events
// carry flags only, and Wait returns at once. The methods are safe for concurrent
// use; Wait comes after the last Event has been settled.
type Cookie struct {
	k    *Kernel
	id   int
	low  uint16
	over atomic.Bool
}

const (
	cookieMagic = 0x0d4d // DM_COOKIE_MAGIC of libdm-common.c
	cookieTries = 1000   // random keys tried before EEXIST is believed

	// Flags of semget(2) and of struct sembuf: include/uapi/linux/ipc.h.
	ipcCreate = 0o1000
	ipcExcl   = 0o2000
	ipcNoWait = 0o4000
)

// NewCookie makes a cookie; Wait or Discard removes it. ENOSPC: the machine is out
// of semaphores. If the process dies it is left behind: see PickCookie.
func (k *Kernel) NewCookie() (*Cookie, error) {
	for try := 1; ; try++ {
		ck := k.randomCookie()
		err := ck.Make()
		if err == nil {
			return ck, nil
		}
		if !errors.Is(err, unix.EEXIST) || try == cookieTries {
			return nil, err
		}
	}
}

// PickCookie chooses a cookie with an unused key, and makes no semaphore: its
// String can be noted where it will be found should the process die, and then Make
// makes it.
func (k *Kernel) PickCookie() (*Cookie, error) {
	for try := 1; ; try++ {
		ck := k.randomCookie()
		_, err := k.t.Semget(ck.key(), 0, 0)
		if err == unix.ENOENT {
			return ck, nil
		}
		if err != nil && err != unix.EACCES {
			return nil, ck.fail("pick", err)
		}
		if try == cookieTries {
			return nil, ck.fail("pick", unix.EEXIST)
		}
	}
}

func (k *Kernel) randomCookie() *Cookie { return &Cookie{k: k, low: uint16(1 + rand.IntN(0xffff))} }

// Make makes the semaphore of a cookie that was picked; of a nil cookie none.
// EEXIST: the key was taken meanwhile. After an error there is nothing to
// discard.
func (ck *Cookie) Make() error {
	if ck == nil {
		return nil
	}
	id, err := ck.k.t.Semget(ck.key(), 1, 0o600|ipcCreate|ipcExcl)
	if err != nil {
		return ck.fail("make", err)
	}
	ck.id = id
	if err := ck.k.t.SemSetval(id, 0, 1); err != nil {
		_ = ck.Discard() // the first error is the one to report
		return ck.fail("make", err)
	}
	return nil
}

func (ck *Cookie) key() int32 { return cookieMagic<<16 | int32(ck.low) }

// Event counts one more call to wait for, and is to be passed to that call.
// Settle it afterwards. A nil cookie gives an event with flags only.
func (ck *Cookie) Event(flags UdevFlags) (Event, error) {
	if ck == nil {
		return FlagsOnly(flags), nil
	}
	if ck.over.Load() {
		return Event{}, ck.fail("count on", unix.EIDRM)
	}
	if err := ck.semop(1, ipcNoWait, -1); err != nil {
		return Event{}, ck.fail("count on", err)
	}
	return Event{flags: flags, cookie: ck}, nil
}

// complete takes back one count. A set that is gone needs no completing.
func (ck *Cookie) complete() error {
	if ck.over.Load() {
		return nil
	}
	if err := ck.semop(-1, ipcNoWait, -1); err != nil && !gone(err) {
		return ck.fail("complete", err)
	}
	return nil
}

// Wait blocks until udev has completed every event, at most timeout, for ever if
// that is negative; then it removes the semaphore, whatever happened.
// ErrUdevTimeout: udev is slow, or its rules for device-mapper are missing. Only
// the first Wait waits.
func (ck *Cookie) Wait(timeout time.Duration) error {
	if ck == nil || ck.over.Load() {
		return nil
	}
	err := ck.complete()
	if err == nil {
		err = ck.waitZero(timeout)
	}
	if removing := ck.Discard(); err == nil {
		err = removing
	}
	return err
}

// Drain blocks until udev has completed the events so far, at most timeout. The
// cookie continues to count; after an error it is only good for Discard.
func (ck *Cookie) Drain(timeout time.Duration) error {
	if ck == nil || ck.over.Load() {
		return nil
	}
	if err := ck.complete(); err != nil {
		return err
	}
	if err := ck.waitZero(timeout); err != nil {
		return err
	}
	if err := ck.semop(1, ipcNoWait, -1); err != nil {
		return ck.fail("count on", err)
	}
	return nil
}

func (ck *Cookie) waitZero(timeout time.Duration) error {
	end := time.Now().Add(timeout)
	for {
		err := ck.semop(0, 0, timeout)
		switch {
		case err == nil || gone(err):
			return nil
		case err == unix.EAGAIN:
			return ck.fail("wait for", ErrUdevTimeout)
		case err != unix.EINTR:
			return ck.fail("wait for", err)
		}
		if timeout >= 0 {
			timeout = max(0, time.Until(end))
		}
	}
}

// Discard removes the semaphore without waiting. Events on their way complete
// nothing then, which does no harm.
func (ck *Cookie) Discard() error {
	if ck == nil || ck.over.Swap(true) {
		return nil
	}
	if err := ck.k.t.SemRemove(ck.id); err != nil && !gone(err) {
		return ck.fail("remove", err)
	}
	return nil
}

// RemoveCookie removes the semaphore that a process left behind when it died; key
// is what String of its cookie said. One that is gone is no error.
func (k *Kernel) RemoveCookie(key string) error {
	n, err := strconv.ParseUint(key, 0, 32)
	if err != nil || n>>16 != cookieMagic {
		return wrap("remove udev cookie", key, unix.EINVAL)
	}
	id, err := k.t.Semget(int32(n), 0, 0)
	if err == nil {
		err = k.t.SemRemove(id)
	}
	if err == unix.ENOENT || err != nil && gone(err) {
		return nil
	}
	return wrap("remove udev cookie", key, err)
}

// Pending is the number of events not completed yet.
func (ck *Cookie) Pending() (int, error) {
	if ck == nil || ck.over.Load() {
		return 0, nil
	}
	n, err := ck.k.t.SemGetval(ck.id, 0)
	if err != nil {
		return 0, ck.fail("look at", err)
	}
	return max(0, n-1), nil
}

// String is the key of the semaphore, as ipcs and dmsetup udevcookies show it.
func (ck *Cookie) String() string {
	if ck == nil {
		return "none"
	}
	return fmt.Sprintf("0x%08x", cookieMagic<<16|uint32(ck.low))
}

func (ck *Cookie) semop(op, flags int16, timeout time.Duration) error {
	return ck.k.t.Semop(ck.id, transport.SemOp{Op: op, Flags: flags}, timeout)
}

func (ck *Cookie) fail(what string, err error) error {
	return &Error{Op: what + " udev cookie", Name: ck.String(), Err: err}
}
