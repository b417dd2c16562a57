package dm

import "strings"

// Hints are written once, in the words of the command line: its flags and commands
// are names that occur in no other text. In an Error a hint names the fields and
// methods of this package instead; Failure has the command's.

// inLibrary has both names of what hints lead to, the longer of the command's first.
var inLibrary = strings.NewReplacer(
	"--consistency fs", "CreateRequest.Consistency Filesystem",
	"--consistency crash", "CreateRequest.Consistency Crash",
	"--freeze-timeout", "CreateRequest.FreezeTimeout",
	"--allow-degraded", "ExecRequest.AllowDegraded",
	"--persistent", "CreateRequest.Persistent",
	"--writable", "CreateRequest.Writable",
	"--flatten", "RemoveRequest.Flatten",
	"--allow-unproven", "CreateRequest.AllowUnproven",
	"--recursive", "Selection.Below",
	"--except", "Selection.Except",
	"--all,", "Selection.All,",
	"--vg", "Selection.Groups",
	"--block", "ExecRequest.Block",
	"--as", "ExecRequest.As",
	"--force-store", "CreateRequest.ForceStore",
	"--state-dir", "Options.StateDir",
	"--volume", "ExtendRequest.Volumes",
	"--store", "CreateRequest.Stores",
	"--chunk", "CreateRequest.ChunkBytes",
	"--hooks", "CreateRequest.HookDirs",
	"--size", "CreateRequest.StoreSize",
	"--name", "CreateRequest.Name",
	"--wait", "Options.Wait",
	"run the same command", "make the same call",
	"run dmsnap detach", "call Manager.Detach",
	"run dmsnap recover", "call Manager.Recover",
	"run dmsnap umount", "call Manager.Unmount for",
	"dmsnap remove --flatten", "Manager.Remove with RemoveRequest.Flatten for",
	"dmsnap thaw --all", "Manager.Thaw of all",
	"dmsnap allocated", "Manager.Allocated",
	"dmsnap attach", "Manager.Attach",
	"dmsnap create", "Manager.Create",
	"dmsnap detach", "Manager.Detach",
	"dmsnap extend", "Manager.Extend for",
	"dmsnap graph", "Manager.Graph",
	"dmsnap list", "Manager.List",
	"dmsnap mount", "Manager.Mount",
	"dmsnap recover", "Manager.Recover",
	"dmsnap remove", "Manager.Remove for",
	"dmsnap show", "Manager.Show for",
	"dmsnap umount", "Manager.Unmount for",
)

// inExtend has the flags that extend shares with create.
var inExtend = strings.NewReplacer("--store", "ExtendRequest.Store", "--size", "ExtendRequest.Size")

// translate gives the hint of an error that leaves this package both its forms.
func (e *Error) translate() {
	if e.command != "" || e.Hint == "" {
		return
	}
	e.command = e.Hint
	if e.Op == "extend" {
		e.Hint = inExtend.Replace(e.Hint)
	}
	e.Hint = inLibrary.Replace(e.Hint)
}

// commandHint is the hint in the words of the command line, also of an error that
// its caller made.
func (e *Error) commandHint() string {
	if e.command != "" {
		return e.command
	}
	return e.Hint
}
