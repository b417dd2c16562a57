package freeze

// AwaitEnd waits until a hook that holds ends on its own account.
func (h *Hook) AwaitEnd() { <-h.held.ended }
