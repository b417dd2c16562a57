package dm

// Recovered is what Recover did.
type Recovered struct {
	Sets []string `json:"sets"` // names of the sets it took down
	// Left are files of stores that no set known here has. They stay.
	Left []string `json:"left"`
	// Ended are volumes of persistent sets that a reboot ended. Their records and
	// stores stay until Remove.
	Ended []EndedVolume `json:"ended"`
	// Expedited is what it put /sys/kernel/rcu_expedited back to, which a window left
	// on whose processes were all killed; "" if there was nothing to put back.
	Expedited string `json:"rcu_expedited,omitempty"`
}

// recovery ends what was interrupted.
type recovery struct {
	*session
	done Recovered
}
