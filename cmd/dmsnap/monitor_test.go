package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

func TestMonitorRequest(t *testing.T) {
	s := &stub{}
	do(t, s, "monitor", "--threshold", "50", "--step", "1g", "--limit", "30%", "--spill", "/dev/vdd", "--spill", "/dev/vde", "--interval", "1s")
	r := s.monitor
	if r.Threshold != 50 || r.Step.Bytes != 1<<30 || r.Limit.Percent != 30 || !slices.Equal(r.Spill, []string{"/dev/vdd", "/dev/vde"}) || r.Interval != time.Second {
		t.Errorf("%+v", r)
	}
	for _, wrong := range [][]string{{"--interval", "0s"}, {"--textfile", "/tmp/x.txt"}, {"--step", "10"}} {
		if o := do(t, &stub{}, append([]string{"monitor"}, wrong...)...); o.exit != 2 {
			t.Errorf("%v: %s", wrong, o)
		}
	}
}

// sampleMetrics has odd names and numbers that are unknown.
func sampleMetrics() *metrics {
	m := &metrics{}
	odd := *nightly()
	odd.Name = "a\"b\\c\nd"
	m.set([]dm.Set{odd, *orphan()}, time.Unix(1000, 0))
	m.count(sampleEvent())
	m.count(sampleEvent())
	return m
}

// TestMetrics checks the format: each family is announced once, right before its
// samples, and names are escaped.
func TestMetrics(t *testing.T) {
	var b bytes.Buffer
	sampleMetrics().write(&b)
	text := b.String()
	for _, want := range []string{
		`dmsnap_store_used_bytes{set="a\"b\\c\nd",volume="vg-home"} 13631488`,
		`dmsnap_volume_state{set="a\"b\\c\nd",volume="vg-srv",state="overflow"} 1`,
		`dmsnap_events_total{event="full"} 2`, `dmsnap_monitor_look_timestamp_seconds 1000`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, `used_bytes{set="a\"b\\c\nd",volume="vg-srv"}`) {
		t.Error("what is unknown has a value")
	}
	family, seen := "", map[string]bool{}
	for line := range strings.Lines(text) {
		if name, found := strings.CutPrefix(line, "# HELP "); found {
			family, _, _ = strings.Cut(name, " ")
			if seen[family] {
				t.Errorf("%s is announced twice", family)
			}
			seen[family] = true
		} else if !strings.HasPrefix(line, "# TYPE "+family+" ") && !strings.HasPrefix(line, family+"{") && !strings.HasPrefix(line, family+" ") {
			t.Errorf("%q under %s", line, family)
		}
	}
}

func TestTextfile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dmsnap.prom")
	for range 2 {
		if o := do(t, &stub{sets: []dm.Set{*nightly()}}, "monitor", "--textfile", path); o.exit != 0 {
			t.Fatal(o)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(text, []byte(`dmsnap_store_size_bytes{set="nightly",volume="vg-home"} `)) {
		t.Errorf("%s, %v", text, err)
	}
	if all, err := os.ReadDir(filepath.Dir(path)); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	o := do(t, &stub{notices: []dm.Event{sampleEvent()}}, "monitor", "--textfile", filepath.Join(path, "x.prom"))
	if o.exit != 1 || !strings.Contains(o.stdout, "full") { // it goes on, and says so at its end
		t.Error(o)
	}
}

func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if o := do(t, &stub{}, "monitor", "--listen", address); o.exit != 1 || !strings.Contains(o.stderr, "--listen") {
		t.Errorf("an address in use: %s", o)
	}
	l.Close()
	stop, err := serve(address, sampleMetrics())
	if err != nil {
		t.Fatal(err)
	}
	for request, want := range map[string]string{
		"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n":                     "HTTP/1.0 200 OK\r\n",
		"GET / HTTP/1.1\r\n\r\n":                                       "HTTP/1.0 404 ",
		"POST /metrics HTTP/1.1\r\n\r\n":                               "HTTP/1.0 405 ",
		"nonsense\r\n\r\n":                                             "HTTP/1.0 400 ",
		"GET /metrics HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", 2000): "", // more than anybody asks
	} {
		got := ask(t, address, request)
		if !strings.HasPrefix(got, want) || (want == "") != (got == "") {
			t.Errorf("%.40q: %q", request, got)
		}
		head, body, _ := strings.Cut(got, "\r\n\r\n")
		if want != "" && !strings.Contains(head, fmt.Sprintf("Content-Length: %d", len(body))) {
			t.Errorf("%.40q: %d bytes after %q", request, len(body), head)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("it still listens")
	}
}

func ask(t *testing.T, address, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() { _, _ = io.WriteString(c, request) }()
	answer, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && len(answer) > 0 {
		t.Error(err)
	}
	return string(answer)
}

func TestNotifySystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	do(t, &stub{}, "monitor")
	b := make([]byte, 100)
	if n, err := l.Read(b); err != nil || !strings.HasPrefix(string(b[:n]), "READY=1\n") {
		t.Errorf("%q, %v", b[:n], err)
	}
}

// TestUnit: the service runs a command line that exists.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile("dist/dmsnap-monitor.service")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		args, found := strings.CutPrefix(strings.TrimSpace(line), "ExecStart=/usr/bin/dmsnap ")
		if !found {
			continue
		}
		if o := do(t, &stub{}, strings.Fields(args)...); o.exit != 0 {
			t.Error(o)
		}
		return
	}
	t.Error("it starts nothing")
}

// TestGuardUnit: the service is a guard, under a name that is not ours.
func TestGuardUnit(t *testing.T) {
	text, err := os.ReadFile("dist/dmsnap-guard@.service")
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(text), "\nExecStart=@/usr/bin/dmsnap ")
	line, _, _ = strings.Cut(line, "\n")
	if args := strings.Fields(line); len(args) != 2 || strings.Contains(args[0], "dmsnap") || args[1] != guardCommand {
		t.Errorf("%q", line)
	}
	if text, err = os.ReadFile("dist/dmsnap-guard.socket"); err != nil || !strings.Contains(string(text), "\nListenStream="+dm.DefaultGuardSocket+"\n") {
		t.Errorf("%s, %v", text, err)
	}
}
