package lab

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// InstallTool puts the dmsnap under test where a package has it, for the time of the test.
func InstallTool(t *testing.T, path string) {
	t.Helper()
	binary, err := os.ReadFile(NewTool(t).bin)
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, binary, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	})
}
