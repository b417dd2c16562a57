package main

import (
	"bytes"
	"fmt"
)

// runMetrics is the last run of a profile in the text format of Prometheus.
func runMetrics(profile string, h history) []byte {
	var text bytes.Buffer
	own := labels("profile", profile)
	last := h.Runs[len(h.Runs)-1]
	single := func(name, help string, value any) {
		metric(&text, name, "gauge", help)
		fmt.Fprintf(&text, "%s{%s} %v\n", name, own, value)
	}
	single("dmsnap_run_timestamp_seconds", "When the last run ended.", last.Ended.Unix())
	single("dmsnap_run_duration_seconds", "How long the last run took, with all its tries.", last.Ended.Sub(last.Started).Seconds())
	single("dmsnap_run_exit_status", "Exit status of the last run.", last.Exit)
	for i := len(h.Runs) - 1; i >= 0; i-- {
		if h.Runs[i].Exit == 0 {
			single("dmsnap_run_success_timestamp_seconds", "When the last good run ended.", h.Runs[i].Ended.Unix())
			break
		}
	}
	perVolume := func(name, help string, value func(fill) uint64) {
		metric(&text, name, "gauge", help)
		for _, f := range last.Fills {
			fmt.Fprintf(&text, "%s{%s} %d\n", name, labels("profile", profile, "origin", f.Origin), value(f))
		}
	}
	perVolume("dmsnap_run_store_size_bytes", "Size of the exception store.", func(f fill) uint64 { return f.SizeBytes })
	perVolume("dmsnap_run_store_used_bytes", "Used part of the exception store when the run ended, metadata included.", func(f fill) uint64 { return f.UsedBytes })
	return text.Bytes()
}
