//go:build 386 || arm

package transport

import "golang.org/x/sys/unix"

const (
	sysSemtimedop = unix.SYS_SEMTIMEDOP_TIME64
	semValueShift = 0
)
