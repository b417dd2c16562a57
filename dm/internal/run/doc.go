// Package run carries plans out.
//
// A [Runner] has the kernel and the callbacks of one operation. Run makes the prepare
// steps one by one and pushes their undo steps, then the window as system calls that
// were encoded beforehand, then the finish steps. Prepare, Cut and Abort are the same in
// two parts. A [Trace] says when each call of the window was made; the receipt is made
// from it. Failures are a [StepError], an [UndoError] or a [PartialError].
//
// If anything fails, writers are unblocked first, then the rest is undone. Inside the
// window (window.go) nothing may open, execute, log, write, load a table or resolve a
// name. Which steps there are is up to package plan.
package run
