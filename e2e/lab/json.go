package lab

import (
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/docs/schema"
)

// checkJSON holds what dmsnap said of a real kernel against the published schemas.
func checkJSON(t *testing.T, out string) {
	t.Helper()
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, `{"schema_version"`) {
			continue
		}
		if err := schema.Check([]byte(line)); err != nil {
			t.Errorf("%v\n%s", err, line)
		}
	}
}
