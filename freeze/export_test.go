package freeze

// AwaitEnd waits until a hook that holds ends on its own account.
func (h *Hook) AwaitEnd() { <-h.held.ended }

// Die closes the switch as the end of a process does.
func (e *Expedite) Die() error { return e.file.Close() }
