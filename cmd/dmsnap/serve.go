package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// serve answers scrapes: as much of HTTP/1.0 as one page needs. Package net/http
// would make the program, all of which is locked in memory for a window, half as
// large again. The function it returns ends it.
func serve(address string, m *metrics) (stop func() error, err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			go answer(c, m)
		}
	}()
	return l.Close, nil
}

// maxRequest bounds what is read, maxScrape how long anything may take.
const (
	maxRequest = 8 << 10
	maxScrape  = 10 * time.Second
)

// answer handles one connection. A client that goes away hurts nobody.
func answer(c net.Conn, m *metrics) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(maxScrape))
	r := bufio.NewReader(io.LimitReader(c, maxRequest))
	request, err := r.ReadString('\n')
	for line := request; err == nil && strings.TrimSpace(line) != ""; {
		line, err = r.ReadString('\n')
	}
	if err != nil {
		return
	}
	var body bytes.Buffer
	status, kind := "200 OK", "text/plain; version=0.0.4; charset=utf-8"
	switch f := strings.Fields(request); {
	case len(f) != 3 || !strings.HasPrefix(f[2], "HTTP/1."):
		status = "400 Bad Request"
	case f[0] != "GET":
		status = "405 Method Not Allowed"
	case f[1] != "/metrics":
		status = "404 Not Found"
	default:
		m.write(&body)
	}
	fmt.Fprintf(c, "HTTP/1.0 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", status, kind, body.Len())
	_, _ = body.WriteTo(c)
}

// notifySystemd tells the service manager, if there is one that wants to know
// (sd_notify(3)).
func notifySystemd(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"}) // a leading @ is abstract here too
	if err != nil {
		return // then it ends us, and says so
	}
	defer c.Close()
	_, _ = c.Write([]byte(state))
}
