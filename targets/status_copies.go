package targets

import "strings"

// CopiesStatus is what the status lines of raid and mirror targets say of their
// copies.
type CopiesStatus struct {
	// Health is one letter for each device in its place: A is alive and in sync,
	// a (raid) alive and not in sync yet, every other one of no use.
	Health string
	// Synced of Total are alike. A mirror counts regions, not sectors.
	Synced, Total Sectors
	// Action is what a raid does beside serving: "idle", "resync", "check". It is
	// empty for a mirror.
	Action string
}

// Whole tells that all devices are alive, hold the same, and nothing is under
// way to change that.
func (s CopiesStatus) Whole() bool {
	return s.Health != "" && strings.Trim(s.Health, "A") == "" && s.Synced == s.Total && (s.Action == "" || s.Action == "idle")
}

// ParseRaidStatus reads "<type> <devices> <health> <synced>/<total> <action> ..."
// (drivers/md/dm-raid.c, raid_status). The error is a [*ParseError].
func ParseRaidStatus(text string) (CopiesStatus, error) {
	r := newReader("raid status", text)
	r.word("type")
	n := r.number("number of devices", 32)
	s := CopiesStatus{Health: r.word("health")}
	r.letters(n, s.Health)
	s.Synced, s.Total = r.ratio("synced")
	s.Action = r.word("action")
	r.words = nil // mismatches, offset and journal, by version of the target
	if err := r.end(); err != nil {
		return CopiesStatus{}, err
	}
	return s, nil
}

// ParseMirrorStatus reads "<devices> <device>... <synced>/<total> 1 <health>
// <log...>" (drivers/md/dm-raid1.c, mirror_status). The error is a [*ParseError].
func ParseMirrorStatus(text string) (CopiesStatus, error) {
	r := newReader("mirror status", text)
	n := r.number("number of devices", 16)
	for range n {
		r.word("device")
	}
	var s CopiesStatus
	s.Synced, s.Total = r.ratio("synced")
	r.number("number of arguments", 16)
	s.Health = r.word("health")
	r.letters(n, s.Health)
	r.words = nil // the log has words of its own
	if err := r.end(); err != nil {
		return CopiesStatus{}, err
	}
	return s, nil
}

func (r *reader) letters(n uint64, health string) {
	if r.err == nil && uint64(len(health)) != n {
		r.fail("health", health, "not one letter for each device")
	}
}
