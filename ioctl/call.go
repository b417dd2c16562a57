package ioctl

import "golang.org/x/sys/unix"

// Call is one system call, checked and encoded beforehand, for the time in which
// devices are suspended and nothing may allocate, open or wait for anybody. It
// must not be run or read by two goroutines at a time, and not after its Control
// or File is closed.
type Call struct {
	k       *Kernel
	fd      int
	number  uint32
	name    string // what String says
	restart bool
	plain   bool // an integer argument of 0, no buffer
	done    bool // buf has a reply

	armed, buf []byte // the request, and what the kernel sees of it
	err        Error
}

func (c *Control) prepare(r *request, err error) (*Call, error) {
	if err != nil {
		return nil, err
	}
	call := &Call{
		k: c.k, fd: c.fd, number: r.number, restart: r.restart,
		name: r.op + " " + r.subject, err: *r.failure(),
	}
	size := max(r.room, headerSize+padded(len(r.body)))
	if size > maxBuffer {
		return nil, r.fail(ErrTooBig)
	}
	call.armed, call.buf = make([]byte, size), make([]byte, size)
	r.encode(call.armed)
	return call, nil
}

// PrepareLoad is a Load to be run later: an old table to put back. Valid flags:
// ReadOnly. The kernel allocates, and opens the lower devices, which must not be
// suspended for that. ENXIO is ambiguous here: it is the device's or a
// target's.
func (c *Control) PrepareLoad(id ID, flags Flags, specs []Spec) (*Call, error) {
	r, err := loadRequest(id, flags, ReadOnly, specs)
	return c.prepare(r, err)
}

// PrepareSuspend is a Suspend to be run later. Valid flags: SkipLockFS, NoFlush.
func (c *Control) PrepareSuspend(id ID, flags Flags) (*Call, error) {
	return c.prepare(suspendRequest(id, flags))
}

// PrepareResume is a Resume to be run later. Valid flags: SkipLockFS, NoFlush. A
// cookie in ev counts this call from now on: run it, or settle the event.
func (c *Control) PrepareResume(id ID, flags Flags, ev Event) (*Call, error) {
	return c.prepare(resumeRequest(id, flags, ev))
}

// PrepareRemove is a Remove to be run later. Valid flags: DeferredRemove. As for
// ev, see PrepareResume.
func (c *Control) PrepareRemove(id ID, flags Flags, ev Event) (*Call, error) {
	return c.prepare(removeRequest(id, flags, ev))
}

// PrepareClear is a Clear to be run later.
func (c *Control) PrepareClear(id ID) (*Call, error) { return c.prepare(clearRequest(id)) }

// PrepareStatus is a Status to be run later.
func (c *Control) PrepareStatus(id ID) (*Call, error) { return c.prepare(statusRequest(id)) }

// PrepareDeps is a Deps of the live table to be run later. Its room for the reply
// cannot grow: it holds 2000 devices.
func (c *Control) PrepareDeps(id ID) (*Call, error) { return c.prepare(depsRequest(id, 0)) }

// PrepareTable is a Table to be run later. Valid flags: QueryInactive. Its room for
// the reply cannot grow: that is 16 KiB, and more bytes.
func (c *Control) PrepareTable(id ID, flags Flags, more int) (*Call, error) {
	r, err := tableRequest(id, flags, QueryInactive)
	if err == nil {
		r.room = firstBuffer + more
	}
	return c.prepare(r, err)
}

// PrepareFreeze is a Freeze to be run later.
func (f *File) PrepareFreeze() *Call { return f.prepare("freeze", reqFreeze) }

// PrepareThaw is a Thaw to be run later.
func (f *File) PrepareThaw() *Call { return f.prepare("thaw", reqThaw) }

func (f *File) prepare(op string, number uint32) *Call {
	return &Call{
		k: f.k, fd: f.fd, number: number, plain: true,
		name: op + " " + f.path, err: Error{Op: op, Name: f.path},
	}
}

// Do makes the system call and blocks as its verb does. It allocates nothing. The
// call can be run again: what the kernel wrote into it is undone first. The error
// is an *Error that belongs to the Call, valid until the next Do.
func (call *Call) Do() error {
	call.done = false
	for {
		ret, err := call.run()
		switch {
		case err == nil && ret == 0:
			call.done = true
			return nil
		case err == nil:
			err = unix.EINVAL
		case err == unix.EINTR && call.restart:
			continue
		}
		call.err.Err = err
		return &call.err
	}
}

func (call *Call) run() (int, error) {
	if call.plain {
		return call.k.t.IoctlInt(call.fd, call.number, 0)
	}
	copy(call.buf, call.armed)
	return call.k.t.Ioctl(call.fd, call.number, call.buf)
}

// Info is the reply of the last Do to a device-mapper call. It is zero if that
// failed, and for freeze and thaw. It allocates: read it after the window.
func (call *Call) Info() Info {
	if !call.done || call.plain {
		return Info{}
	}
	h, err := parseHeader(call.buf)
	if err != nil {
		return Info{}
	}
	return h.info()
}

// State is what decides inside a window.
type State struct {
	Suspended, Live, Inactive bool // as in Info
}

// State is the part of Info that can be read inside the window: it allocates
// nothing. It is zero where Info is.
func (call *Call) State() State {
	if !call.done || call.plain || len(call.buf) < headerSize {
		return State{}
	}
	h := header{flags: headerFlags(call.buf)}
	i := h.info()
	return State{Suspended: i.Suspended, Live: i.Live, Inactive: i.Inactive}
}

// Deps is the reply of the last Do of a PrepareDeps, nil if that failed. It
// allocates as Info does.
func (call *Call) Deps() []DevNo {
	if !call.done || call.number != reqTableDeps {
		return nil
	}
	h, err := parseHeader(call.buf)
	if err != nil || h.flags&flagBufferFull != 0 {
		return nil
	}
	payload, err := h.payload(call.buf)
	if err != nil {
		return nil
	}
	deps, _ := parseDeps(payload)
	return deps
}

// Payload is what follows the header in the reply of the last Do, valid until the
// next one: of a PrepareTable the table as the kernel writes it. It allocates
// nothing. fits is false where there is no reply, or not all of it.
func (call *Call) Payload() (b []byte, fits bool) {
	if !call.done || call.plain || len(call.buf) < headerSize {
		return nil, false
	}
	h := header{dataSize: native.Uint32(call.buf[12:]), dataStart: native.Uint32(call.buf[16:]), flags: headerFlags(call.buf)}
	if h.flags&flagBufferFull != 0 {
		return nil, false
	}
	b, err := h.payload(call.buf)
	return b, err == nil
}

// Specs is the table that the last Do of a PrepareTable brought. It allocates as
// Info does.
func (call *Call) Specs() ([]Spec, error) {
	b, fits := call.Payload()
	if !fits || call.number != reqTableStatus {
		return nil, ErrTooBig
	}
	h, err := parseHeader(call.buf)
	if err != nil || h.targetCount == 0 {
		return nil, err
	}
	return parseSpecs(b, h.targetCount)
}

// Named gives errors and String another name for the object: a device that is
// called by its number keeps the name that the user knows.
func (call *Call) Named(name string) *Call {
	call.name, call.err.Name = call.err.Op+" "+name, name
	return call
}

// String is the verb and its object: "suspend vg-home".
func (call *Call) String() string { return call.name }
