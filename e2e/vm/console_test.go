package vm

import (
	"slices"
	"strings"
	"testing"
)

func TestConsoleCleansLines(t *testing.T) {
	c := &console{}
	for _, part := range []string{"\x1bc\x1b[?7l\x1b[2JSeaBIOS\r", "\n[ 1.0] half", " a line\r\nrest"} {
		if _, err := c.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := c.tail(9), []string{"SeaBIOS", "[ 1.0] half a line", "rest"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := c.tail(1); !slices.Equal(got, []string{"rest"}) {
		t.Errorf("last line is %q", got)
	}
}

func TestConsoleFindsTrouble(t *testing.T) {
	bad := []string{
		"[    4.02] Kernel panic - not syncing: sysrq triggered crash",
		"[   10.00] BUG: kernel NULL pointer dereference, address: 0000000000000000",
		"[   10.00] kernel BUG at fs/super.c:1650!",
		"[   11.00] WARNING: CPU: 1 PID: 97 at block/blk-core.c:1 foo+0x1/0x2",
		"[   12.00] INFO: task sync:99 blocked for more than 60 seconds.",
		"[   13.00] Oops: 0002 [#1] PREEMPT SMP",
		"[   14.00] watchdog: BUG: soft lockup - CPU#0 stuck for 120s!",
		"init: mount 9p on /lower: no such device",
	}
	good := []string{
		"[    3.73] device-mapper: core: CONFIG_IMA_DISABLE_HTABLE is disabled.",
		"[    9.00] device-mapper: snapshots: Invalidating snapshot: Unable to allocate exception.",
		"[    9.00] DEBUG: nothing",
		"[    9.00] task:sync            state:D stack:0     pid:99",
	}
	c := &console{}
	if _, err := c.Write([]byte(strings.Join(good, "\r\n") + "\r\n")); err != nil {
		t.Fatal(err)
	}
	mark := c.mark()
	if got := c.troubles(0); len(got) > 0 {
		t.Errorf("took for trouble: %q", got)
	}
	if _, err := c.Write([]byte(strings.Join(bad, "\r\n") + "\r\n")); err != nil {
		t.Fatal(err)
	}
	if got := c.troubles(mark); !slices.Equal(got, bad) {
		t.Errorf("found %q, want %q", got, bad)
	}
}
