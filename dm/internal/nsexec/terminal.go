package nsexec

import (
	"os/signal"

	"golang.org/x/sys/unix"
)

// terminal is standard input, if it is a terminal whose foreground job the owner
// was: the command, in a group of its own, takes its place, or it could not read.
type terminal struct {
	ours  bool
	group int // of the owner
}

func openTerminal() terminal {
	front, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	if err != nil {
		return terminal{}
	}
	group, err := unix.Getpgid(unix.Getppid())
	return terminal{ours: err == nil && front == group, group: group}
}

// giveBack is for when the command has ended. We are in the background: the signal
// that the terminal has for such is not for us.
func (t *terminal) giveBack() {
	if !t.ours {
		return
	}
	t.ours = false
	signal.Ignore(unix.SIGTTOU)
	_ = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, t.group) // it may have hung up
}
