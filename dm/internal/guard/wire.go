package guard

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// Owner and guard talk over one connected stream socket, whether the guard is a
// child or a service's process. The owner sends a program, then its descriptors;
// the guard answers with a text; the owner sends single bytes. The end of the
// stream is the end of the process at the other side, at once: no other process has
// that end.

// wireVersion changes with anything below: a service may be another version's.
const wireVersion = 1

// program is a Spec on its way to the guard. Its descriptors follow: the shared
// page, the mounts, the switch.
type program struct {
	Version  int           `json:"version"`
	Deadline time.Duration `json:"deadline"`
	Fronts   []Front       `json:"fronts"`
	Locks    []string      `json:"locks"` // none: the owner is of a release that does not say
	Mounts   int           `json:"mounts"`
	// ExpediteBefore is what the switch goes back to; without it none follows.
	ExpediteBefore []byte `json:"expedite_before"`
}

func (p program) descriptors() int {
	n := 1 + p.Mounts
	if p.ExpediteBefore != nil {
		n++
	}
	return n
}

const (
	// ready is the whole answer of a guard that is; any other is why it is not.
	ready = "ready"
	// Messages, one byte each.
	msgOpen  = 'O' // the window begins
	msgClose = 'C' // it is over, or the guard's intervention was seen

	batch    = 200     // descriptors in one message; the kernel takes 253
	maxFrame = 1 << 24 // bytes of a program or an answer
)

func frame(b []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n > maxFrame {
		return nil, fmt.Errorf("%d bytes: %w", n, unix.EMSGSIZE)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

// sendProgram is the owner's part. The page is the first descriptor.
func sendProgram(conn *net.UnixConn, p program, fds []int) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if _, err := conn.Write(frame(b)); err != nil {
		return err
	}
	for len(fds) > 0 {
		n := min(batch, len(fds))
		if _, _, err := conn.WriteMsgUnix([]byte{0}, unix.UnixRights(fds[:n]...), nil); err != nil {
			return err
		}
		fds = fds[n:]
	}
	return nil
}

// receiveProgram is the guard's part, on a blocking socket. io.EOF: the owner gave
// up before it had anything to guard.
func receiveProgram(k *ioctl.Kernel, socket int) (p program, files []*ioctl.File, err error) {
	b, err := readFrame(rawSocket(socket))
	if err != nil {
		return p, nil, err
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, nil, err
	}
	if p.Version != wireVersion {
		return p, nil, fmt.Errorf("the guard speaks version %d of the protocol, its caller %d", wireVersion, p.Version)
	}
	for want := p.descriptors(); len(files) < want; {
		fds, err := receiveDescriptors(socket, min(batch, want-len(files)))
		for _, fd := range fds {
			files = append(files, k.Received(fd, "a descriptor of the window"))
		}
		if err != nil {
			return p, files, err
		}
	}
	return p, files, nil
}

func receiveDescriptors(socket, want int) (fds []int, err error) {
	var data [1]byte
	oob := make([]byte, unix.CmsgSpace(4*want))
	n, oobn, _, _, err := unix.Recvmsg(socket, data[:], oob, unix.MSG_CMSG_CLOEXEC)
	for errors.Is(err, unix.EINTR) {
		n, oobn, _, _, err = unix.Recvmsg(socket, data[:], oob, unix.MSG_CMSG_CLOEXEC)
	}
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	if n == 0 {
		return nil, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, err
	}
	for i := range messages {
		got, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return fds, err
		}
		fds = append(fds, got...)
	}
	if len(fds) != want { // the kernel drops what our limit has no room for
		return fds, fmt.Errorf("%d of %d descriptors arrived: %w", len(fds), want, unix.EMFILE)
	}
	return fds, nil
}

// rawSocket reads and writes past the runtime's poller.
type rawSocket int

func (s rawSocket) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(int(s), b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0 && len(b) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (s rawSocket) Write(b []byte) (int, error) {
	n, err := unix.SendmsgN(int(s), b, nil, nil, unix.MSG_NOSIGNAL)
	return n, os.NewSyscallError("sendmsg", err)
}

// trustedPeer refuses a peer that is neither root nor our user: a guard gets the
// descriptors of mounts, and acts on its messages.
func trustedPeer(socket int) error {
	peer, err := unix.GetsockoptUcred(socket, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return os.NewSyscallError("peer credentials", err)
	}
	if peer.Uid != 0 && int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("the other end is a process of user %d: %w", peer.Uid, unix.EPERM)
	}
	return nil
}
