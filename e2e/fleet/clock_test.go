package fleet

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// talker asks a program on a host, line by line, and knows when it asked and was answered by this machine's clock.
type talker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func (f *fleet) talk(t *testing.T, name, line string) *talker {
	t.Helper()
	p := &talker{cmd: exec.Command("ssh", "-F", f.config, name, line)}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in, p.out = in, bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *talker) ask(question any) (asked, answered time.Time, answer string, err error) {
	asked = time.Now()
	if _, err := fmt.Fprintln(p.in, question); err != nil {
		return asked, asked, "", err
	}
	if !p.out.Scan() {
		return asked, asked, "", fmt.Errorf("no answer to %v: %w", question, p.out.Err())
	}
	return asked, time.Now(), p.out.Text(), nil
}

func (p *talker) end() error {
	p.in.Close()
	return p.cmd.Wait()
}

// setClock brings a host's clock close to this machine's, as a time service would, and returns how far it is off afterwards at most.
func (f *fleet) setClock(t *testing.T, name string) time.Duration {
	t.Helper()
	offset, _ := f.offset(t, name)
	f.ssh(t, name, fmt.Sprintf(`python3 -c 'import time; time.clock_settime(time.CLOCK_REALTIME, time.time() - %.6f)'`, offset.Seconds()))
	offset, doubt := f.offset(t, name)
	return offset.Abs() + doubt
}

// offset is how far a host's clock is ahead of this machine's, and by how much that may be wrong: half of the shortest way there and
// back.
func (f *fleet) offset(t *testing.T, name string) (offset, doubt time.Duration) {
	t.Helper()
	p := f.talk(t, name, `python3 -uc 'import sys, time; [print(time.time_ns()) for unused in iter(sys.stdin.readline, "")]'`)
	for i := range 30 {
		asked, answered, text, err := p.ask(i)
		if err != nil {
			t.Fatal(err)
		}
		ns, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if way := answered.Sub(asked) / 2; i == 0 || way < doubt {
			doubt, offset = way, time.Unix(0, ns).Sub(asked.Add(way))
		}
	}
	if err := p.end(); err != nil {
		t.Fatal(err)
	}
	return offset, doubt
}

// ticker writes one number after the other to a file on a host's volume. By this machine's clock, number n was written between
// asked[n-1] and answered[n-1].
type ticker struct {
	asked, answered []time.Time
	stop, done      chan struct{}
	err             error
}

func (f *fleet) tick(t *testing.T, name string) *ticker {
	t.Helper()
	p := f.talk(t, name, `while read -r n; do echo "$n" >>/srv/data/ticks; echo; done`)
	k := &ticker{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(k.done)
		for n := 1; k.err == nil; n++ {
			select {
			case <-k.stop:
				k.err = p.end()
				return
			default:
			}
			asked, answered, _, err := p.ask(n)
			k.asked, k.answered, k.err = append(k.asked, asked), append(k.answered, answered), err
		}
	}()
	return k
}

// instant is when an image was cut that holds this text of ticks: after its last number was asked for and before the one after it
// was done. The image must hold every number up to its last.
func (k *ticker) instant(t *testing.T, text string) (from, to time.Time) {
	t.Helper()
	lines := strings.Fields(text)
	for i, line := range lines {
		if line != strconv.Itoa(i+1) {
			t.Fatalf("line %d of the image is %q", i+1, line)
		}
	}
	n := len(lines)
	if n == 0 || n >= len(k.answered) {
		t.Fatalf("the image holds %d of %d numbers: it was not cut between two of them", n, len(k.answered))
	}
	return k.asked[n-1], k.answered[n]
}
