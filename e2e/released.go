package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/dmsnap/dmsnap/e2e/vm"
)

// released is the commit whose command stands for what users have had until now.
const released = "c2a7cf7187311fcb4a237679ef420e2c15bfa948"

// buildReleased compiles the command as of that commit, once for each processor, and returns its path. It is empty if the history does not reach
// back that far, as in a shallow clone.
func buildReleased(ctx context.Context, arch string) (string, error) {
	if exec.CommandContext(ctx, "git", "cat-file", "-e", released+"^{commit}").Run() != nil {
		return "", nil
	}
	cache, err := vm.CacheDir()
	if err != nil {
		return "", err
	}
	target := filepath.Join(cache, "released", released, arch, "dmsnap")
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		return target, err
	}
	work, err := workDir()
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	const line = `set -e
git archive "$1" | tar -x -C "$2"
cd "$2"
go build -buildvcs=false -o made ./cmd/dmsnap
mkdir -p "$(dirname "$3")"
mv made "$3"`
	return target, runQuiet(ctx, []string{"CGO_ENABLED=0", "GOARCH=" + arch}, "bash", "-o", "pipefail", "-c", line, "bash", released, work, target)
}
