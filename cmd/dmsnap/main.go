// Command dmsnap takes point-in-time snapshots of live block devices with the
// kernel's device-mapper. Package dm does the work; this is its command line.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/dmsnap/dmsnap/dm"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == guardCommand {
		os.Exit(dm.GuardMain())
	}
	if len(os.Args) > 1 && os.Args[1] == supervisorCommand {
		os.Exit(dm.SupervisorMain(os.Args[2:]))
	}
	ctx, stop := signalContext()
	defer stop()
	if len(os.Args) == 2 && os.Args[1] == keepCommand {
		os.Exit(keep(ctx, os.Stdin, os.Stdout, openManager))
	}
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr, openManager))
}

// guardCommand is how the tool calls itself as the process that ends a window
// if it cannot; not for users.
const guardCommand = "guard"

// openManager: the guard is this program, whose version is sure to be the same.
func openManager(o dm.Options) manager {
	o.Guard = []string{"/proc/self/exe", guardCommand}
	o.Supervisor = []string{"/proc/self/exe", supervisorCommand}
	o.GuardSocket = dm.DefaultGuardSocket
	o.LockMemory = true
	return dm.New(o)
}

// signalContext gives a context that ends on an interrupt, a hangup or a
// termination request, so that the library undoes what it began. Further
// signals do not cut the undo short. A signal ignored by the caller (nohup)
// stays ignored.
//
// SIGPIPE is caught too: a log line written to a closed pipe must not end the
// process while an origin is suspended.
func signalContext() (context.Context, context.CancelFunc) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	var ending []os.Signal
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			ending = append(ending, s)
		}
	}
	if len(ending) == 0 {
		return context.WithCancel(context.Background())
	}
	return signal.NotifyContext(context.Background(), ending...)
}
