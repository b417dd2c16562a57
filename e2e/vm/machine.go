package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/internal/wire"
)

const (
	bootLimit  = 5 * time.Minute // emulated, on a machine that may be busy
	closeLimit = 20 * time.Second
	// userlandCloseLimit is ample for services that end as they should, emulated.
	userlandCloseLimit = 3 * time.Minute
)

// Machine is a running guest. One command runs at a time; Kill may come at any time.
type Machine struct {
	image   Image
	cmd     *exec.Cmd
	port    *os.File
	monitor *os.File // only with a network
	conn    *wire.Conn
	address string
	console *console
	stderr  bytes.Buffer
	dir     string
	// patience is how long the guest may take to power off.
	patience time.Duration
	frames   chan frame    // closed when the guest's port closes
	dead     chan struct{} // closed when QEMU has ended
}

type frame struct {
	kind    wire.Kind
	payload []byte
}

// Start boots a guest and waits until its agent serves. The context bounds the start only.
func Start(ctx context.Context, options Options) (*Machine, error) {
	options = options.withDefaults()
	image, err := Fetch(ctx, options.Kernel)
	if err != nil {
		return nil, err
	}
	if options.programs, err = Programs(ctx, options.Kernel); err != nil {
		return nil, err
	}
	base, err := runDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(base, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(base, "vm-")
	if err != nil {
		return nil, err
	}
	m := &Machine{image: image, dir: dir, patience: closeLimit, console: &console{}, frames: make(chan frame), dead: make(chan struct{})}
	if err := m.start(ctx, options); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start kernel %s: %w", image.Release, err)
	}
	if err := m.awaitHello(ctx); err != nil {
		m.Kill()
		return nil, fmt.Errorf("boot kernel %s: %w", image.Release, err)
	}
	if m.monitor != nil {
		if m.address, err = forwardedAddress(m.monitor); err != nil {
			m.Kill()
			return nil, err
		}
	}
	return m, nil
}

func (m *Machine) start(ctx context.Context, options Options) error {
	initramfs := m.dir + "/initramfs"
	if err := writeInitramfs(ctx, initramfs, m.image, options); err != nil {
		return err
	}
	options.Disks = slices.Clone(options.Disks)
	if options.Root != "" { // the last: the others keep their names
		options.Disks = append(options.Disks, Disk{Path: options.Root, Serial: rootSerial})
		m.patience = userlandCloseLimit
	}
	for i, disk := range options.Disks {
		made, err := disk.withDefaults(i, m.dir)
		if err != nil {
			return err
		}
		options.Disks[i] = made
	}
	accel, err := acceleratorArgs(ctx, m.image)
	if err != nil {
		return err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	m.port, m.conn = ours, wire.New(ours)
	m.cmd = exec.Command(m.image.platform().qemu, append(accel, qemuArgs(m.image, initramfs, options)...)...)
	m.cmd.Dir = m.dir
	m.cmd.Stdout, m.cmd.Stderr = m.console, &m.stderr
	m.cmd.ExtraFiles = []*os.File{theirs}
	if options.Forward != 0 {
		ours, theirs, err := socketPair()
		if err != nil {
			return errors.Join(err, m.port.Close())
		}
		defer theirs.Close()
		m.monitor, m.cmd.ExtraFiles = ours, append(m.cmd.ExtraFiles, theirs)
	}
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := m.cmd.Start(); err != nil {
		m.closePorts()
		return err
	}
	go m.reap()
	go m.receive()
	return nil
}

// reap notices QEMU's end, however it comes.
func (m *Machine) reap() {
	_ = m.cmd.Wait()
	m.closePorts()
	os.RemoveAll(m.dir)
	close(m.dead)
}

func (m *Machine) closePorts() {
	m.port.Close()
	if m.monitor != nil {
		m.monitor.Close()
	}
}

func (m *Machine) receive() {
	defer close(m.frames)
	for {
		kind, payload, err := m.conn.Receive()
		if err != nil {
			return
		}
		select {
		case m.frames <- frame{kind, payload}:
		case <-m.dead:
			return
		}
	}
}

func (m *Machine) awaitHello(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	select {
	case f, open := <-m.frames:
		if !open || f.kind != wire.KindHello {
			return m.died()
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w; last on the console:\n%s", ctx.Err(), m.Console(30))
	}
}

// died describes the end of a machine that nobody asked to end.
func (m *Machine) died() error {
	select {
	case <-m.dead:
	case <-time.After(closeLimit):
		m.Kill()
	}
	text := strings.TrimSpace(m.stderr.String())
	return fmt.Errorf("the guest is gone; QEMU said %q; last on the console:\n%s", text, m.Console(40))
}

// Release is the kernel's release, as uname tells it.
func (m *Machine) Release() string { return m.image.Release }

// Address is where the port of Options.Forward is on the host, as host:port.
func (m *Machine) Address() string { return m.address }

// Console returns the last lines of the serial console.
func (m *Machine) Console(lines int) string { return strings.Join(m.console.tail(lines), "\n") }

// Kill is the power cut: what the guest has not flushed is lost, files of disks with a Path stay. It returns when
// QEMU is gone.
func (m *Machine) Kill() {
	_ = m.cmd.Process.Kill()
	<-m.dead
}

// Wait blocks until the guest has gone down by itself: a reboot ends the machine, too.
func (m *Machine) Wait(ctx context.Context) error {
	select {
	case <-m.dead:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the guest does not go down: %w; last on the console:\n%s", context.Cause(ctx), m.Console(40))
	}
}

// Close powers the guest off in good order.
func (m *Machine) Close() error {
	if err := m.conn.Send(wire.KindQuit, nil); err == nil {
		select {
		case <-m.dead:
			return nil
		case <-time.After(m.patience):
		}
	}
	select {
	case <-m.dead:
		return nil
	default:
	}
	m.Kill()
	return errors.New("the guest did not power off and was killed")
}

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	// Only our end may be non-blocking, for Go's poller: then Close wakes a reader.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return os.NewFile(uintptr(fds[0]), "agent"), os.NewFile(uintptr(fds[1]), "guest"), nil
}
