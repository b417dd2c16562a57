package vm

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// Packages downloads Debian packages of the host's suite for a guest to unpack, with what they depend on and the host does not
// have, and returns their files. Nothing changes on the host.
func Packages(ctx context.Context, names ...string) ([]string, error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "packages")
	if err := os.MkdirAll(filepath.Join(dir, "none", "partial"), 0o755); err != nil {
		return nil, err
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return nil, err
	}
	defer unlock()
	install := func(archives string, how string) (string, error) {
		args := []string{"-q", "-y", "--no-install-recommends", "--no-upgrade", "-o", "APT::Sandbox::User=root", "-o", "Dir::Cache::archives=" + archives}
		return output(ctx, "apt-get", slices.Concat(args, []string{how, "install"}, names)...)
	}
	// What is there already would not be named: so an empty directory is asked about.
	list, err := install(filepath.Join(dir, "none"), "--print-uris")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "partial"), 0o755); err != nil {
		return nil, err
	}
	if _, err := install(dir, "--download-only"); err != nil {
		return nil, err
	}
	var files []string
	for line := range strings.Lines(list) {
		if fields := strings.Fields(line); strings.HasPrefix(line, "'") && len(fields) > 1 {
			files = append(files, filepath.Join(dir, fields[1]))
		}
	}
	return files, nil
}

// headersPart matches the packages that together are a kernel's headers.
var headersPart = regexp.MustCompile(`^linux-(headers|kbuild|compiler)-[0-9a-z].*`)

// Headers downloads the packages with a kernel's headers, without the compiler they depend on, and returns their files.
func Headers(ctx context.Context, kernel Kernel) ([]string, error) {
	image, err := Fetch(ctx, kernel)
	if err != nil {
		return nil, err
	}
	return fetch(ctx, filepath.Join("headers", image.Release), []string{kernel.Suite, strings.TrimSuffix(kernel.Suite, "-backports")},
		func(a *apt) ([]string, error) { return a.below(ctx, "linux-headers-"+image.Release, headersPart) })
}

// PackageOf downloads a package as another suite has it, without what it depends on, and returns its file.
func PackageOf(ctx context.Context, suite, name string) (string, error) {
	files, err := fetch(ctx, filepath.Join("suites", suite, name), []string{suite},
		func(*apt) ([]string, error) { return []string{name}, nil })
	if err != nil {
		return "", err
	}
	return files[0], nil
}

// fetch returns the packages in a directory of the cache, which it downloads first if it is not there.
func fetch(ctx context.Context, name string, suites []string, choose func(*apt) ([]string, error)) ([]string, error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if files, err := filepath.Glob(filepath.Join(dir, "*.deb")); err != nil || len(files) > 0 {
		return files, err
	}
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return nil, err
	}
	a, err := newApt(ctx, partial, []string{runtime.GOARCH}, suites...)
	if err != nil {
		return nil, err
	}
	if _, err := a.get(ctx, "update"); err != nil {
		return nil, err
	}
	packages, err := choose(a)
	if err != nil {
		return nil, err
	}
	if _, err := a.download(ctx, packages); err != nil {
		return nil, err
	}
	if err := os.Rename(partial, dir); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(dir, "*.deb"))
}
