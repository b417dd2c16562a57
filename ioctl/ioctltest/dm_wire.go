package ioctltest

import (
	"bytes"
	"encoding/binary"

	"github.com/dmsnap/dmsnap/ioctl"
)

// struct dm_ioctl, include/uapi/linux/dm-ioctl.h.
const (
	offVersion   = 0
	offDataSize  = 12
	offDataStart = 16
	offTargets   = 20
	offOpens     = 24
	offFlags     = 28
	offEvent     = 32
	offDev       = 40
	offName      = 48
	offUUID      = 176
	offData      = 305
	headerSize   = 312
	nameLen      = 128
	uuidLen      = 129
	specSize     = 40
	maxParam     = 1 << 30
)

const (
	flagReadOnly       = 1 << 0
	flagSuspend        = 1 << 1
	flagPersistent     = 1 << 3
	flagStatusTable    = 1 << 4
	flagActive         = 1 << 5
	flagInactive       = 1 << 6
	flagBufferFull     = 1 << 8
	flagSkipLockFS     = 1 << 10
	flagNoFlush        = 1 << 11
	flagQueryInactive  = 1 << 12
	flagUevent         = 1 << 13
	flagUUID           = 1 << 14
	flagSecureData     = 1 << 15
	flagDataOut        = 1 << 16
	flagDeferredRemove = 1 << 17
	flagInternal       = 1 << 18
)

const (
	cmdVersion = iota
	cmdRemoveAll
	cmdListDevices
	cmdCreate
	cmdRemove
	cmdRename
	cmdSuspend
	cmdStatus
	cmdWait
	cmdLoad
	cmdClear
	cmdDeps
	cmdTableStatus
	cmdListVersions
	cmdMessage
	cmdGeometry
	cmdArmPoll
	cmdTargetVersion
)

// message is one dm_ioctl on its way through the kernel: the caller's buffer,
// or the part of it that the command uses.
type message struct {
	b       []byte
	flags   uint32
	eventNr uint32
	dev     uint64
	targets uint32
	start   uint32
	name    string
	uuid    string
	used    uint32 // data_size of the reply
	stale   bool   // the reply is not copied back
}

func decode(b []byte) *message {
	return &message{
		b:       b,
		start:   u32(b, offDataStart),
		targets: u32(b, offTargets),
		flags:   u32(b, offFlags),
		eventNr: u32(b, offEvent),
		dev:     binary.NativeEndian.Uint64(b[offDev:]),
		name:    cstring(b[offName : offName+nameLen-1]),
		uuid:    cstring(b[offUUID : offUUID+uuidLen-1]),
		used:    offData,
	}
}

// reply writes the header back. Bytes behind the end of the strings stay what
// the caller sent.
func (m *message) reply(opens int32) {
	put32(m.b, offDataSize, m.used)
	put32(m.b, offDataStart, m.start)
	put32(m.b, offTargets, m.targets)
	put32(m.b, offOpens, uint32(opens))
	put32(m.b, offFlags, m.flags)
	put32(m.b, offEvent, m.eventNr)
	binary.NativeEndian.PutUint64(m.b[offDev:], m.dev)
	copy(m.b[offName:], m.name+"\x00")
	copy(m.b[offUUID:], m.uuid+"\x00")
}

// out starts the reply's payload and returns the room for it.
func (m *message) out() []byte {
	m.start = headerSize
	if len(m.b) <= headerSize {
		return nil
	}
	return m.b[headerSize:]
}

func (m *message) has(flag uint32) bool { return m.flags&flag != 0 }

func (m *message) mark(flag uint32, on bool) {
	m.flags &^= flag
	if on {
		m.flags |= flag
	}
}

func u32(b []byte, off int) uint32      { return binary.NativeEndian.Uint32(b[off:]) }
func put32(b []byte, off int, v uint32) { binary.NativeEndian.PutUint32(b[off:], v) }
func align8(n int) int                  { return (n + 7) &^ 7 }
func hugeDev(no ioctl.DevNo) uint64 {
	return uint64(no.Minor&0xff | no.Major<<8 | (no.Minor&^0xff)<<12)
}

func devFromHuge(v uint64) ioctl.DevNo {
	return ioctl.DevNo{Major: uint32(v>>8) & 0xfff, Minor: uint32(v&0xff) | uint32(v>>12)&0xfff00}
}

// cstring is the text up to the first NUL.
func cstring(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// terminated returns the string at the start of b, which must end in b.
func terminated(b []byte) (string, bool) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return "", false
	}
	return string(b[:i]), true
}
