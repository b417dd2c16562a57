package dm

import "time"

// Explanation is what Why found out about a set or an origin.
type Explanation struct {
	Subject  string    `json:"subject"` // as asked for
	Kind     Subject   `json:"kind"`
	Summary  string    `json:"summary"` // the worst finding
	Findings []Finding `json:"findings"`
}

// Level is how much a finding matters.
type Level string

// The levels.
const (
	LevelOK      Level = "ok"      // as it should be
	LevelNote    Level = "note"    // explains something: who holds a device, what makes writes slow
	LevelProblem Level = "problem" // is in the way
)

// Finding is one thing that is so, and what can be done about it.
type Finding struct {
	Level   Level   `json:"level"`
	Topic   Topic   `json:"topic"`
	Volume  string  `json:"volume,omitempty"`
	Message string  `json:"message"`
	Hint    string  `json:"hint,omitempty"`
	Holder  *Holder `json:"holder,omitempty"`
	Load    *Load   `json:"load,omitempty"`
}

// Load is what happens to a store or an origin just now.
type Load struct {
	WriteRate *Rate          `json:"write_bytes_per_second,omitempty"`   // to the origin
	FillRate  *Rate          `json:"fill_bytes_per_second,omitempty"`    // the larger of just now and since the cut
	FullIn    *time.Duration `json:"full_in_seconds,omitempty" unit:"s"` // at that rate; absent if it does not grow
}

// explainer collects findings.
type explainer struct {
	*view
	*Explanation
	s *session
}

func (x *explainer) add(f Finding) { x.Findings = append(x.Findings, f) }
