package ioctl

import (
	"bytes"
	"encoding/binary"
)

// native is the byte order of every struct here: that of the machine.
var native = binary.NativeEndian

// header is struct dm_ioctl of include/uapi/linux/dm-ioctl.h without its data[7].
// Offsets: version 0, data_size 12, data_start 16, target_count 20, open_count 24,
// flags 28, event_nr 32, padding 36, dev 40, name 48, uuid 176, data 305.
type header struct {
	version     Version
	dataSize    uint32 // of the whole buffer; in a reply, of what is used
	dataStart   uint32 // where the payload starts
	targetCount uint32
	openCount   int32
	flags       uint32
	eventNr     uint32 // an event number, or a udev cookie
	dev         uint64 // huge_encode_dev
	name, uuid  string
}

// put writes the header into the first 312 bytes of b and leaves the rest. Names
// have been checked: they fit with their NUL.
func (h *header) put(b []byte) {
	clear(b[:headerSize])
	native.PutUint32(b[0:], h.version.Major)
	native.PutUint32(b[4:], h.version.Minor)
	native.PutUint32(b[8:], h.version.Patch)
	native.PutUint32(b[12:], h.dataSize)
	native.PutUint32(b[16:], h.dataStart)
	native.PutUint32(b[20:], h.targetCount)
	native.PutUint32(b[24:], uint32(h.openCount))
	native.PutUint32(b[28:], h.flags)
	native.PutUint32(b[32:], h.eventNr)
	native.PutUint64(b[40:], h.dev)
	copy(b[48:48+nameSize-1], h.name)
	copy(b[176:176+uuidSize-1], h.uuid)
}

// parseHeader reads the 312 bytes of a reply. Texts without a NUL end at the end
// of their field.
func parseHeader(b []byte) (header, error) {
	if len(b) < headerSize {
		return header{}, ErrBadReply
	}
	return header{
		version:     parseVersion(b),
		dataSize:    native.Uint32(b[12:]),
		dataStart:   native.Uint32(b[16:]),
		targetCount: native.Uint32(b[20:]),
		openCount:   int32(native.Uint32(b[24:])),
		flags:       headerFlags(b),
		eventNr:     native.Uint32(b[32:]),
		dev:         native.Uint64(b[40:]),
		name:        field(b[48 : 48+nameSize]),
		uuid:        field(b[176 : 176+uuidSize]),
	}, nil
}

func headerFlags(b []byte) uint32 { return native.Uint32(b[28:]) }

// payload is the part of a reply that its header says is used. A kernel with
// nothing to say, as about the targets of a device without a table, gives the
// size of a plain header.
func (h *header) payload(b []byte) ([]byte, error) {
	if h.dataSize == plainSize {
		return nil, nil
	}
	if h.dataStart < headerSize || h.dataStart > h.dataSize || uint64(h.dataSize) > uint64(len(b)) {
		return nil, ErrBadReply
	}
	return b[h.dataStart:h.dataSize], nil
}

// field is a text in a fixed field, up to its NUL.
func field(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// text is a NUL-terminated text of unknown length and what follows it.
func text(b []byte) (s string, length int, err error) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return "", 0, ErrBadReply
	}
	return string(b[:i]), i, nil
}

// padded is n rounded up to where the next record may start.
func padded(n int) int { return (n + payloadPad - 1) &^ (payloadPad - 1) }
