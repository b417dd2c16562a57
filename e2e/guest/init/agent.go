package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/internal/wire"
	"github.com/dmsnap/dmsnap/e2e/leak"
)

// serve answers requests, one program at a time, until the host says quit or goes away.
func serve() error {
	port, err := openPort()
	if err != nil {
		return err
	}
	defer port.Close()
	conn := wire.New(port)
	frames := make(chan frame)
	go receive(conn, frames)
	if err := conn.SendJSON(wire.KindHello, wire.Hello{Release: os.Getenv(releaseEnv)}); err != nil {
		return err
	}
	for f := range frames {
		switch f.kind {
		case wire.KindRun:
			var request wire.Run
			if err := json.Unmarshal(f.payload, &request); err != nil {
				return fmt.Errorf("request: %w", err)
			}
			if err := conn.SendJSON(wire.KindExit, execute(conn, request, frames)); err != nil {
				return err
			}
		case wire.KindQuit:
			return nil
		}
	}
	return errors.New("the host closed the port")
}

type frame struct {
	kind    wire.Kind
	payload []byte
}

func receive(conn *wire.Conn, frames chan<- frame) {
	defer close(frames)
	for {
		kind, payload, err := conn.Receive()
		if err != nil {
			return
		}
		frames <- frame{kind, payload}
	}
}

// execute runs one program and, if asked to, compares the guest before and after it.
func execute(conn *wire.Conn, request wire.Run, frames <-chan frame) wire.Exit {
	before, err := leak.Take()
	if err != nil {
		return wire.Exit{Error: err.Error()}
	}
	result := runProgram(conn, request, frames)
	if request.Leaks {
		result.Leaks = leak.Wait(before, 5*time.Second)
		result.Leaks = append(result.Leaks, leak.ThawAll()...)
	}
	return result
}

func runProgram(conn *wire.Conn, request wire.Run, frames <-chan frame) wire.Exit {
	cmd := exec.Command(request.Path, request.Args...)
	cmd.Dir = request.Dir
	cmd.Env = append(baseEnv(), request.Env...)
	cmd.Stdout, cmd.Stderr = conn.Writer(wire.KindStdout), conn.Writer(wire.KindStderr)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = 2 * time.Second // a daemon left behind may hold the pipes; the leak check names it
	if err := cmd.Start(); err != nil {
		return wire.Exit{Error: err.Error()}
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case err := <-done:
			return exitOf(cmd, err)
		case f, open := <-frames:
			if !open || f.kind == wire.KindCancel {
				reportBlocked()
				_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
				frames = nil // one cancel is enough, and a closed channel would spin
			}
		}
	}
}

// reportBlocked has the kernel print the stacks of the tasks it holds: the reason why a program must be killed.
func reportBlocked() {
	_ = os.WriteFile("/proc/sysrq-trigger", []byte("w"), 0)
}

func exitOf(cmd *exec.Cmd, err error) wire.Exit {
	if cmd.ProcessState == nil {
		return wire.Exit{Error: fmt.Sprint(err)}
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return wire.Exit{Code: 128 + int(status.Signal())}
	}
	return wire.Exit{Code: cmd.ProcessState.ExitCode()}
}

func baseEnv() []string {
	env := []string{
		"PATH=" + guestPath, "HOME=/root", "USER=root", "LANG=C.UTF-8", "TMPDIR=" + tmpDir, "DMSNAP_E2E=1",
		releaseEnv + "=" + os.Getenv(releaseEnv),
	}
	if value, set := os.LookupEnv("DM_DISABLE_UDEV"); set {
		env = append(env, "DM_DISABLE_UDEV="+value)
	}
	return env
}

// openPort waits for our virtio-serial port: the host announces it some time after the driver is loaded.
func openPort() (*os.File, error) {
	deadline := time.Now().Add(20 * time.Second)
	for {
		names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return nil, err
		}
		for _, path := range names {
			text, err := os.ReadFile(path)
			if err == nil && strings.TrimSpace(string(text)) == wire.PortName {
				return openBlocking(filepath.Join("/dev", filepath.Base(filepath.Dir(path))))
			}
		}
		if time.Now().After(deadline) {
			return nil, errors.New("no virtio-serial port " + wire.PortName)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// openBlocking keeps the port out of Go's poller: its driver blocks well and polls badly.
func openBlocking(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}
