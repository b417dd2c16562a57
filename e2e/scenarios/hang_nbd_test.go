package scenarios

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// network is a network block device of 64 MiB, /dev/nbd0, and its server, which keeps the bytes in memory.
type network struct {
	conn  *os.File
	bytes []byte
	stops chan chan struct{} // what is received ends a pause of the server
}

// Requests and replies of the protocol, and the ioctls (include/uapi/linux/nbd.h).
const (
	nbdRequest, nbdReply                    = 0x25609513, 0x67446698
	nbdRead, nbdWrite, nbdDisc, nbdFlush    = 0, 1, 2, 3
	nbdSetSock, nbdSetBlockSize, nbdDoIt    = 0xab00, 0xab01, 0xab03
	nbdClearSock, nbdSetBlocks, nbdShutdown = 0xab04, 0xab07, 0xab08
	nbdSetTimeout, nbdSetFlags              = 0xab09, 0xab0a
	nbdHasFlags, nbdSendsFlush              = 1, 4
)

// newNetwork connects the device; timeout is the driver's, in seconds, 0 for none.
func newNetwork(t *testing.T, timeout int) *network {
	t.Helper()
	lab.Run(t, "modprobe", "nbd", "nbds_max=1")
	t.Cleanup(func() { lab.Run(t, "udevadm", "settle"); lab.Run(t, "rmmod", "nbd") })
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	device, err := unix.Open("/dev/nbd0", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := &network{conn: os.NewFile(uintptr(fds[1]), "server"), bytes: make([]byte, 64*lab.MiB*512), stops: make(chan chan struct{}, 1)}
	for _, set := range []struct {
		request uint
		value   int
	}{{nbdSetBlockSize, 512}, {nbdSetBlocks, len(n.bytes) / 512}, {nbdSetTimeout, timeout}, {nbdSetFlags, nbdHasFlags | nbdSendsFlush}, {nbdSetSock, fds[0]}} {
		if err := unix.IoctlSetInt(device, set.request, set.value); err != nil {
			t.Fatalf("ioctl %#x of /dev/nbd0: %v", set.request, err)
		}
	}
	served, ended := make(chan error, 1), make(chan error, 1)
	go func() { served <- errors.Join(n.serve(), n.conn.Close()) }() // the driver waits for the close
	go func() { ended <- unix.IoctlSetInt(device, nbdDoIt, 0) }()
	t.Cleanup(func() {
		_ = unix.IoctlSetInt(device, nbdShutdown, 0) // a device that timed out has no connection left
		<-ended
		_ = unix.IoctlSetInt(device, nbdClearSock, 0)
		if err := unix.Close(device); err != nil {
			t.Error(err)
		}
		_ = unix.Close(fds[0])
		if err := <-served; err != nil {
			t.Logf("the server ended with %v", err)
		}
	})
	lab.Run(t, "udevadm", "settle")
	return n
}

// stop has the server answer nothing until the function it returns is called.
func (n *network) stop() (goOn func()) {
	pause := make(chan struct{})
	n.stops <- pause
	return sync.OnceFunc(func() { close(pause) })
}

// serve answers until the kernel hangs up.
func (n *network) serve() error {
	var head [28]byte
	for {
		if _, err := io.ReadFull(n.conn, head[:]); err != nil {
			return err
		}
		kind, at, length := binary.BigEndian.Uint16(head[6:]), binary.BigEndian.Uint64(head[16:]), binary.BigEndian.Uint32(head[24:])
		if magic := binary.BigEndian.Uint32(head[:]); magic != nbdRequest {
			return fmt.Errorf("a request that begins with %#x", magic)
		}
		reply := make([]byte, 16)
		binary.BigEndian.PutUint32(reply, nbdReply)
		copy(reply[8:], head[8:16])
		switch kind {
		case nbdWrite:
			if _, err := io.ReadFull(n.conn, n.bytes[at:][:length]); err != nil {
				return err
			}
		case nbdRead:
			reply = append(reply, n.bytes[at:][:length]...)
		case nbdDisc:
			return nil
		case nbdFlush:
		}
		select {
		case pause := <-n.stops:
			<-pause
		default:
		}
		if _, err := n.conn.Write(reply); err != nil {
			return err
		}
	}
}

// TestHangingNetworkStore: the server of a store's network block device answers no more. With a timeout, the driver ends what
// thaw --invalidate waits for; without, only the server does. Then writers go on, and only the image is lost.
func TestHangingNetworkStore(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	for _, timeout := range []int{15, 0} {
		t.Run(fmt.Sprintf("timeout %d", timeout), func(t *testing.T) {
			var server *network
			tool, w, v := hangable(t, func(string) string { server = newNetwork(t, timeout); return "/dev/nbd0" })
			goOn := server.stop()
			defer goOn()
			waiting := victim(t, v)
			done := make(chan string, 1)
			go func() {
				_, stderr, code := tool.Try("thaw", "--invalidate", "one")
				done <- fmt.Sprint(code, " ", stderr)
			}()
			if timeout == 0 {
				select {
				case said := <-done:
					t.Errorf("it ended while the server was silent: %s", said)
				case <-time.After(6 * time.Second):
				}
				goOn()
			}
			select {
			case said := <-done:
				if !strings.HasPrefix(said, "0 ") {
					t.Errorf("exit %s", said)
				}
			case <-time.After(2 * time.Minute):
				t.Error("thaw --invalidate does not end")
			}
			goesOn(t, tool, w, v, waiting)
		})
	}
}
