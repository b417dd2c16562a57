package scenarios

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

// notifySocket is the service manager's side of sd_notify.
type notifySocket struct {
	path string
	conn *net.UnixConn
}

func newNotifySocket(t *testing.T) notifySocket {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return notifySocket{path, conn}
}

// await blocks until the service says that it is ready.
func (s notifySocket) await(t *testing.T) {
	t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if _, err := s.conn.Read(b); err != nil {
		t.Fatalf("the service does not get ready: %v", err)
	}
}
