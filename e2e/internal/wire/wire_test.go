package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
)

func TestFramesArriveAsSent(t *testing.T) {
	var stream bytes.Buffer
	conn := New(&stream)
	if err := conn.SendJSON(KindRun, Run{Path: "/bin/true", Args: []string{"a b"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn.Writer(KindStdout), "out\x00put"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Send(KindQuit, nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		kind Kind
		text string
	}{{KindRun, `"a b"`}, {KindStdout, "out\x00put"}, {KindQuit, ""}} {
		kind, payload, err := conn.Receive()
		if err != nil || kind != want.kind || !strings.Contains(string(payload), want.text) {
			t.Errorf("got %c %q %v, want %c %q", kind, payload, err, want.kind, want.text)
		}
	}
	if _, _, err := conn.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last frame: %v", err)
	}
}

func TestReceiveRefusesBadStreams(t *testing.T) {
	huge := binary.BigEndian.AppendUint32([]byte{'O'}, MaxPayload+1)
	for name, stream := range map[string][]byte{
		"huge":        huge,
		"cut header":  {'O', 0, 0},
		"no payload":  {'O', 0, 0, 0, 2},
		"cut payload": {'O', 0, 0, 0, 2, 'x'},
	} {
		if _, _, err := New(bytes.NewBuffer(stream)).Receive(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestSendRefusesHugeFrame(t *testing.T) {
	if err := New(&bytes.Buffer{}).Send(KindStdout, make([]byte, MaxPayload+1)); err == nil {
		t.Error("no error")
	}
}

func TestSendsDoNotMix(t *testing.T) {
	var stream bytes.Buffer
	conn := New(&stream)
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			for range 50 {
				if err := conn.Send(KindStderr, []byte("whole")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	senders.Wait()
	for range 8 * 50 {
		if _, payload, err := conn.Receive(); err != nil || string(payload) != "whole" {
			t.Fatalf("got %q, %v", payload, err)
		}
	}
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte{'O', 0, 0, 0, 1, 'x'})
	f.Fuzz(func(t *testing.T, stream []byte) {
		conn := New(bytes.NewBuffer(stream))
		for {
			if _, _, err := conn.Receive(); err != nil {
				return
			}
		}
	})
}
