// Package nsexec runs a command that sees images in place of their origins, in a mount
// namespace of its own.
//
// [Start] is the owner's side, used by dm/exec.go: it starts a supervisor, hands it a
// [Program] (images, command, environment) over a socket, and returns when the command
// runs. Of the [Supervisor] it gets Layout tells what the command sees, Signal and End
// reach the command, Done and Exit tell how it ended. A command that could not be run is
// a [StartError] with the exit status that env(1) would have.
//
// [Main] is the whole of the supervisor, a process of two threads of work. One obeys the
// owner and ends the command, with all that it started, when the owner is gone. The other
// reaps: the supervisor is the reaper of all its descendants (PR_SET_CHILD_SUBREAPER), so
// that none escapes and the images can be unmounted at the end.
//
// [Plan] decides what is mounted where, from the mounts as they are, and touches nothing;
// lay.go carries its [Op]s out. An image is laid over every mount point of its origin,
// bind mounts too; what was mounted below stays where it was. The namespace ends with its
// last process, and its mounts with it: there is nothing to undo.
package nsexec
