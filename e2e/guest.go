package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/e2e/internal/results"
	"github.com/dmsnap/dmsnap/e2e/vm"
)

// packageLimit bounds one package's tests on one kernel; the test binary itself gives up a little earlier, with the
// stacks of its goroutines.
func (f *testFlags) packageLimit() time.Duration {
	if f.all {
		return 90 * time.Minute
	}
	return 30 * time.Minute
}

// env tells tests how long they may take.
func (f *testFlags) env() []string {
	if f.all {
		return []string{"DMSNAP_FULL=1"}
	}
	return nil
}

// allowedSkips are the reasons for which a test may be skipped in a guest.
var allowedSkips = []string{"host only:", "needs other kernel:", "full length only:", "history too short:"}

// wipeDisks gives each package the same empty disks.
const wipeDisks = `for disk in /dev/vd?; do blkdiscard -f "$disk" || exit; done`

// testDisks are the disks of a guest: enough for sets of volumes with stores, the last with 4 KiB sectors.
func testDisks() []vm.Disk {
	const size = 2 << 30
	disks := make([]vm.Disk, 7)
	for i := range disks {
		disks[i] = vm.Disk{Size: size}
	}
	disks[len(disks)-1].SectorSize = 4096
	return disks
}

// guestTests runs the test binaries of all packages on every kernel.
func guestTests(ctx context.Context, flags *testFlags, summary *results.Summary) error {
	dir, err := workDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	stage, end := timed("compile", results.Policy{})
	summary.Others = append(summary.Others, stage)
	binaries, err := compileAll(ctx, dir, flags.matrix(), flags.patterns, stage)
	end()
	if err != nil {
		return err
	}
	for i, kernel := range flags.matrix() {
		guest := kernelTests(ctx, flags, kernel, binaries[kernel.Arch()], summary.Host, i == 0 || flags.all)
		summary.Guests = append(summary.Guests, guest)
		if summary.Real(guest) == 0 {
			guest.Problem("not one test of a real kernel ran")
		}
	}
	return nil
}

// kernelTests runs all packages on one kernel, in one machine as long as it stays clean: at full length all of their tests,
// else those that did not pass on the host already, and if not wide none of what kernels hardly differ in.
func kernelTests(ctx context.Context, flags *testFlags, kernel vm.Kernel, b *binaries, host *results.Stage, wide bool) *results.Stage {
	stage, end := timed("kernel "+kernel.Name, results.Policy{EachTest: true, Logs: flags.verbose, Skips: allowedSkips})
	defer end()
	g := &guest{stage: stage, flags: flags, options: flags.options(kernel), tool: b.tool, passedOnHost: noTests}
	if host != nil && !flags.all {
		g.passedOnHost = host.PassedWhole
	}
	g.env = b.env(g.options)
	if !wide {
		g.env = append(g.env, "DMSNAP_NARROW=1")
	}
	if flags.module {
		module, err := vm.Module(ctx, kernel)
		if err != nil {
			stage.Problem("%v", err)
		}
		g.env = append(g.env, "DMSNAP_MODULE="+module)
	}
	if flags.all && !kernel.Foreign() {
		servers, err := vm.Packages(ctx, serverPackages...)
		if err != nil {
			stage.Problem("%v", err)
		}
		g.env = append(g.env, "DMSNAP_DEBS="+strings.Join(servers, " "))
	}
	defer g.close()
	for _, pkg := range b.packages {
		if err := g.test(ctx, pkg); err != nil {
			stage.Problem("%s: %v", pkg.path, err)
			g.kill() // in an unknown state
		}
		if ctx.Err() != nil {
			stage.Problem("%v", context.Cause(ctx))
			break
		}
	}
	return stage
}

// guest is a machine that is booted when needed.
type guest struct {
	stage   *results.Stage
	flags   *testFlags
	options vm.Options
	tool    string
	env     []string // what the tests of this kernel find
	machine *vm.Machine
	// passedOnHost are the tests of a package that need no guest any more, and whether the package has no others.
	passedOnHost func(pkg string) (names []string, all bool)
}

func noTests(string) (names []string, all bool) { return nil, false }

func (g *guest) boot(ctx context.Context) error {
	if g.machine != nil {
		return nil
	}
	start := time.Now()
	machine, err := vm.Start(ctx, g.options)
	if err != nil {
		return err
	}
	g.machine = machine
	fmt.Printf("booted %s in %.1fs\n", machine.Release(), time.Since(start).Seconds())
	return nil
}

func (g *guest) kill() {
	if g.machine != nil {
		g.machine.Kill()
		g.machine = nil
	}
}

func (g *guest) close() {
	if g.machine == nil {
		return
	}
	if err := g.machine.Close(); err != nil {
		g.stage.Problem("%v", err)
	}
	g.machine = nil
}

// test runs one package's binary. A guest that is not as clean afterwards as before is replaced for the next.
func (g *guest) test(ctx context.Context, pkg testPackage) error {
	passed, all := g.passedOnHost(pkg.path)
	if all {
		return nil
	}
	if err := g.boot(ctx); err != nil {
		return err
	}
	limit := g.flags.packageLimit()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("more than %v", limit))
	defer cancel()
	if err := g.shell(ctx, wipeDisks); err != nil {
		return fmt.Errorf("wipe disks: %w", err)
	}
	var result vm.Result
	failures := g.stage.Failures()
	err := readEvents(g.stage, func(w io.Writer) error {
		return g.convert(ctx, pkg.path, w, func(raw io.Writer) (err error) {
			result, err = g.machine.Run(ctx, vm.Command{
				Path: pkg.binary, Args: g.testArgs(passed), Dir: pkg.dir, Env: slices.Concat(passedEnv(os.Environ()), g.flags.env(), g.env),
				Stdout: raw, Stderr: raw, Leaks: true,
			})
			return err
		})
	})
	g.stage.Finish(pkg.path) // when the guest died there is no last event
	unclean := append(result.Leaks, result.Troubles...)
	for _, line := range unclean {
		g.stage.Problem("%s: %s", pkg.path, line)
	}
	if err == nil && result.ExitCode != 0 && g.stage.Failures() == failures {
		g.stage.Problem("%s: exit status %d", pkg.path, result.ExitCode)
	}
	if err == nil && len(unclean) > 0 {
		g.close()
	}
	return err
}

func (g *guest) shell(ctx context.Context, line string) error {
	var text bytes.Buffer
	result, err := g.machine.Run(ctx, vm.Command{Path: "/bin/sh", Args: []string{"-c", line}, Stdout: &text, Stderr: &text})
	if err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("exit status %d: %s", result.ExitCode, text.String())
	}
	return err
}

func (g *guest) testArgs(skip []string) []string {
	limit := g.flags.packageLimit() - 30*time.Second
	args := []string{"-test.v=test2json", "-test.paniconexit0", "-test.timeout=" + limit.String()}
	if g.flags.run != "" {
		args = append(args, "-test.run="+g.flags.run)
	}
	if len(skip) > 0 {
		args = append(args, "-test.skip=^("+strings.Join(skip, "|")+")$")
	}
	if g.flags.short {
		args = append(args, "-test.short")
	}
	return args
}

// convert lets the host's test2json read what a test binary prints.
func (g *guest) convert(ctx context.Context, pkg string, w io.Writer, run func(raw io.Writer) error) error {
	tool := exec.CommandContext(ctx, g.tool, "-t", "-p", pkg)
	tool.Stdout, tool.Stderr = w, os.Stderr
	raw, err := tool.StdinPipe()
	if err != nil {
		return err
	}
	if err := tool.Start(); err != nil {
		return fmt.Errorf("test2json: %w", err)
	}
	err = run(raw)
	return errors.Join(err, raw.Close(), tool.Wait())
}

func diskList(options vm.Options) string {
	var names []string
	for i := range options.Disks {
		names = append(names, fmt.Sprintf("/dev/vd%c", 'a'+i))
	}
	return strings.Join(names, ",")
}
