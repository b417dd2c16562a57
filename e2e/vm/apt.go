package vm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// kernelPart matches the packages that together are one kernel: newer ones come in parts, base lists what is built in.
var kernelPart = regexp.MustCompile(`^linux-(base|image|modules|binary)-[0-9].*-(amd|arm)64$`)

// apt is an apt of our own beside the system's: same mirror and proxies, other sources, lists and cache.
type apt struct {
	options []string
	dir     string
}

// unpackKernel downloads a kernel into dir and unpacks it below root.
func unpackKernel(ctx context.Context, kernel Kernel, dir, root string) ([]string, error) {
	a, err := newApt(ctx, filepath.Join(dir, "apt"), []string{kernel.Arch()}, kernel.Suite)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(a.dir)
	if _, err := a.get(ctx, "update"); err != nil {
		return nil, err
	}
	packages, err := a.below(ctx, "linux-image-"+kernel.Flavour, kernelPart)
	if err != nil {
		return nil, err
	}
	archives, err := a.download(ctx, packages)
	if err != nil {
		return nil, err
	}
	for _, archive := range archives {
		if _, err := output(ctx, "dpkg-deb", "-x", archive, root); err != nil {
			return nil, err
		}
	}
	return packages, nil
}

// newApt is one for machines with these processors: packages are the first one's unless their names say another.
func newApt(ctx context.Context, dir string, arches []string, suites ...string) (*apt, error) {
	mirror, err := findMirror(ctx)
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	var lines string
	for _, suite := range suites {
		lines += fmt.Sprintf("deb [signed-by=%s] %s %s main\n", keyring, mirror, suite)
	}
	for name, text := range map[string]string{"sources.list": lines, "status": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	a := &apt{dir: dir, options: []string{
		"-q",
		"-o", "APT::Architecture=" + arches[0],
		"-o", "Dir::State::Lists=" + filepath.Join(dir, "lists"),
		"-o", "Dir::State::status=" + filepath.Join(dir, "status"),
		"-o", "Dir::Cache=" + filepath.Join(dir, "cache"),
		"-o", "Dir::Etc::SourceList=" + filepath.Join(dir, "sources.list"),
		"-o", "Dir::Etc::SourceParts=/dev/null",
		"-o", "Dir::Etc::PreferencesParts=/dev/null",
		"-o", "APT::Sandbox::User=root", // the cache may lie where another user cannot write
		"-o", "Acquire::Languages=none",
		"-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"-o", "Acquire::Retries=3",
	}}
	for _, arch := range slices.Compact(arches) {
		a.options = append(a.options, "-o", "APT::Architectures::="+arch)
	}
	return a, nil
}

func (a *apt) get(ctx context.Context, args ...string) (string, error) {
	return a.run(ctx, "apt-get", args...)
}

func (a *apt) run(ctx context.Context, program string, args ...string) (string, error) {
	return command{dir: a.dir}.output(ctx, program, slices.Concat(a.options, args)...)
}

// download fetches packages and returns their files.
func (a *apt) download(ctx context.Context, packages []string) ([]string, error) {
	if _, err := a.get(ctx, append([]string{"download"}, packages...)...); err != nil {
		return nil, err
	}
	archives, err := filepath.Glob(filepath.Join(a.dir, "*.deb"))
	if err == nil && len(archives) != len(packages) {
		err = fmt.Errorf("wanted %q, got %q", packages, archives)
	}
	return archives, err
}

// below follows the dependencies of a package down to those that match.
func (a *apt) below(ctx context.Context, name string, pattern *regexp.Regexp) ([]string, error) {
	text, err := a.run(ctx, "apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts",
		"--no-breaks", "--no-replaces", "--no-enhances", name)
	if err != nil {
		return nil, err
	}
	packages := matchLines(text, pattern)
	if len(packages) == 0 {
		return nil, fmt.Errorf("no package like %s below %s:\n%s", pattern, name, text)
	}
	return packages, nil
}

// matchLines picks the packages named at the start of a line, which apt-cache prints once each.
func matchLines(text string, pattern *regexp.Regexp) []string {
	var packages []string
	for line := range strings.Lines(text) {
		if name := strings.TrimRight(line, "\n"); pattern.MatchString(name) {
			packages = append(packages, name)
		}
	}
	return packages
}

// findMirror asks the system's apt which Debian mirror it uses.
func findMirror(ctx context.Context) (string, error) {
	text, err := output(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)|$(ORIGIN)|$(LABEL)|$(COMPONENT)")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		uri, rest, _ := strings.Cut(strings.TrimSpace(line), "|")
		if rest == "Debian|Debian|main" {
			return uri, nil
		}
	}
	return "", fmt.Errorf("apt knows no Debian main repository (has `apt-get update` ever run?)")
}
