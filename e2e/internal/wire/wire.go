// Package wire is what the harness on the host and the agent in the guest say to each other: frames of one kind
// byte, a length and a payload, over a virtio-serial port. Messages are JSON, output is raw.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// PortName is the name of the virtio-serial port on which the agent serves.
const PortName = "dmsnap.agent"

// MaxPayload bounds a frame, so that a confused peer cannot make us allocate without end.
const MaxPayload = 1 << 20

const headerLen = 5

// Kind says what a frame carries.
type Kind byte

// The frames: Hello, Stdout, Stderr and Exit go to the host, the others to the guest.
const (
	KindHello  Kind = 'H'
	KindRun    Kind = 'R'
	KindCancel Kind = 'C'
	KindStdout Kind = 'O'
	KindStderr Kind = 'E'
	KindExit   Kind = 'X'
	KindQuit   Kind = 'Q'
)

// Config tells the init program what guest to make. It travels in the initramfs.
type Config struct {
	Release   string   `json:"release"`
	ModuleDir string   `json:"module_dir"`
	Early     []string `json:"early"`
	Udev      bool     `json:"udev"`
	Network   bool     `json:"network"`
	Programs  bool     `json:"programs"`       // those of the host are for another processor: take these before them
	Root      string   `json:"root,omitempty"` // serial number of the disk with a userland of its own
}

// Hello is the agent's first word: the guest is ready.
type Hello struct {
	Release string `json:"release"`
}

// Run asks for one program.
type Run struct {
	Path  string   `json:"path"`
	Args  []string `json:"args"`
	Dir   string   `json:"dir"`
	Env   []string `json:"env"`
	Leaks bool     `json:"leaks"`
}

// Exit ends a Run. Error is set when the program could not be run at all.
type Exit struct {
	Code  int      `json:"code"`
	Error string   `json:"error,omitempty"`
	Leaks []string `json:"leaks,omitempty"`
}

// Conn frames a byte stream. Sends may come from several goroutines; only one may receive.
type Conn struct {
	rw io.ReadWriter
	mu sync.Mutex // one frame at a time
}

// New wraps a stream.
func New(rw io.ReadWriter) *Conn { return &Conn{rw: rw} }

// Send writes one frame of raw bytes.
func (c *Conn) Send(kind Kind, payload []byte) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("frame %c: %d bytes are too many", kind, len(payload))
	}
	frame := make([]byte, headerLen, headerLen+len(payload))
	frame[0] = byte(kind)
	binary.BigEndian.PutUint32(frame[1:], uint32(len(payload)))
	frame = append(frame, payload...)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.rw.Write(frame); err != nil {
		return fmt.Errorf("send frame %c: %w", kind, err)
	}
	return nil
}

// SendJSON writes one frame that carries a message.
func (c *Conn) SendJSON(kind Kind, message any) error {
	payload, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode frame %c: %w", kind, err)
	}
	return c.Send(kind, payload)
}

// Receive reads one frame. It returns io.EOF only between frames.
func (c *Conn) Receive() (Kind, []byte, error) {
	var header [headerLen]byte
	if _, err := io.ReadFull(c.rw, header[:]); err != nil {
		return 0, nil, err
	}
	kind, size := Kind(header[0]), binary.BigEndian.Uint32(header[1:])
	if size > MaxPayload {
		return 0, nil, fmt.Errorf("frame %q announces %d bytes", kind, size)
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(c.rw, payload); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, fmt.Errorf("frame %c: %w", kind, err)
	}
	return kind, payload, nil
}

// Writer sends everything written to it as frames of one kind.
func (c *Conn) Writer(kind Kind) io.Writer { return frameWriter{c, kind} }

type frameWriter struct {
	conn *Conn
	kind Kind
}

func (w frameWriter) Write(p []byte) (int, error) {
	if err := w.conn.Send(w.kind, p); err != nil {
		return 0, err
	}
	return len(p), nil
}
