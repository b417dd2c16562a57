package ioctl

import "golang.org/x/sys/unix"

const (
	firstBuffer = 16 << 10 // bytes tried first for a call that has a payload
	maxBuffer   = 64 << 20 // the last size tried; the kernel's own limit is 1 GiB
)

// request is one device-mapper call that has been checked and can be encoded.
type request struct {
	op      string // verb, for errors
	subject string // name, uuid or number, for errors
	number  uint32 // request number
	head    header
	body    []byte // payload to send
	room    int    // least size of the buffer; 0 for calls without payload
	restart bool   // a call that only reads: EINTR is tried again
	once    bool   // a call that must not run again for want of room
	opaque  bool   // ENXIO does not prove that the device is missing
}

// newRequest checks what is common to all verbs.
func newRequest(op string, number uint32, id ID, flags, valid Flags) (*request, error) {
	r := &request{op: op, subject: id.String(), number: number}
	if err := id.check(); err != nil {
		return nil, r.fail(err)
	}
	if flags&^valid != 0 {
		return nil, r.fail(ErrBadFlags)
	}
	r.head = header{
		version: Version{Major: versionSent},
		flags:   uint32(flags),
		name:    id.Name,
		uuid:    id.UUID,
		dev:     id.Dev.Huge(),
	}
	return r, nil
}

// globalRequest is a request for no device in particular.
func globalRequest(op string, number uint32) *request {
	return &request{op: op, number: number, head: header{version: Version{Major: versionSent}}}
}

// failure is the *Error of this request, without a cause yet.
func (r *request) failure() *Error {
	return &Error{Op: r.op, Name: r.subject, lookup: r.subject != "" && !r.opaque}
}

func (r *request) fail(err error) error {
	e := r.failure()
	e.Err = err
	return e
}

// encode writes the whole request into b, which is zero beyond it.
func (r *request) encode(b []byte) {
	r.head.dataSize = uint32(len(b))
	r.head.dataStart = headerSize
	r.head.put(b)
	copy(b[headerSize:], r.body)
}

// call runs a request and hands header and buffer of the reply to decode, which
// may be nil. A reply that did not fit came with success and a flag: the buffer is
// doubled and the request repeated. Buffers of secure calls are wiped.
func (c *Control) call(r *request, decode func(h *header, b []byte) error) (Info, error) {
	size := headerSize
	if r.room > 0 {
		size = max(r.room, headerSize+len(r.body))
	}
	for {
		if size > maxBuffer {
			return Info{}, r.fail(ErrTooBig)
		}
		info, full, err := c.attempt(r, make([]byte, size), decode)
		if !full {
			return info, err
		}
		if r.once {
			return Info{}, r.fail(ErrTooBig)
		}
		size *= 2
	}
}

func (c *Control) attempt(r *request, b []byte, decode func(h *header, b []byte) error) (info Info, full bool, err error) {
	if r.head.flags&flagSecureData != 0 {
		defer clear(b)
	}
	if err := c.ioctl(r, b); err != nil {
		return Info{}, false, r.fail(err)
	}
	h, err := parseHeader(b)
	if err != nil {
		return Info{}, false, r.fail(err)
	}
	if h.flags&flagBufferFull != 0 {
		return Info{}, true, nil
	}
	if decode != nil {
		if err := decode(&h, b); err != nil {
			return Info{}, false, r.fail(err)
		}
	}
	return h.info(), false, nil
}

// ioctl encodes the request anew for every try, as the kernel writes into the
// header. A positive result is no success: kernel 6.1 answers 2 to a message for
// a device without a live table, where later ones say EINVAL.
func (c *Control) ioctl(r *request, b []byte) error {
	for {
		r.encode(b)
		ret, err := c.k.t.Ioctl(c.fd, r.number, b)
		switch {
		case err == unix.EINTR && r.restart:
			continue
		case err == nil && ret != 0:
			return unix.EINVAL
		}
		return err
	}
}
