package dm

// Report is what Doctor found.
type Report struct {
	Kernel     string         `json:"kernel"`
	DM         string         `json:"dm"` // version of the interface; "" without device-mapper
	Targets    []TargetReport `json:"targets"`
	Udev       bool           `json:"udev"`
	Privileged bool           `json:"privileged"`
	Problems   []Problem      `json:"problems"`
	Origins    []OriginReport `json:"origins"`
	// Media are the disks of all stores there are; Volume is the store's device.
	Media []Medium `json:"media,omitempty"`
}

// TargetReport is one device-mapper target of interest.
type TargetReport struct {
	Name      string `json:"name"`
	Version   string `json:"version"` // "" when missing, or not loaded
	NeededFor string `json:"needed_for"`
	Loadable  bool   `json:"loadable,omitempty"` // not loaded, but its module is installed
}

// Problem is something that stands in the way, and what to do about it.
type Problem struct {
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// OriginReport says what a cut of one origin would do.
type OriginReport struct {
	Origin     string     `json:"origin"`
	Device     string     `json:"device"`
	Devno      DevNo      `json:"devno"`
	Redirector Redirector `json:"redirector"`
	Attached   bool       `json:"attached"` // by Attach: the layer stays when the last set goes
	// Layer is the table that all I/O passes on an attached device that has one.
	Layer       string     `json:"layer,omitempty"`
	Filesystems []FSReport `json:"filesystems"`
	Possible    bool       `json:"possible"`
	Problems    []Problem  `json:"problems"`
	// Notes are what is not in the way of a cut, and should be known before it.
	Notes []Problem `json:"notes,omitempty"`
}

// FSReport is a filesystem on an origin and how it would be frozen.
type FSReport struct {
	Type        string       `json:"type"`
	Mountpoints []string     `json:"mountpoints"`
	Method      FreezeMethod `json:"method"`
	Reason      string       `json:"reason"`
}
