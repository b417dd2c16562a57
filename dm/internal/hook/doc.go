// Package hook finds the programs that quiesce applications around a cut, and calls
// them.
//
// [Find] lists the programs of the hook directories and refuses what another user than
// root could have put there. A [Hook] is one program in one operation: PreFreeze before
// the window, End with post-thaw or abort after it. Package dm decides when to call
// them and records the calls in the journal, so that an interrupted operation's hooks
// are called again by recover. Nothing here runs inside the window.
package hook
