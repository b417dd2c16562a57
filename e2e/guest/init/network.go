package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/internal/wire"
)

func loopbackUp(wire.Config) error { return interfaceUp("lo", nil) }

// networkUp gives the guest the address that QEMU's own network has for it. There is no route: nobody is behind that network.
func networkUp(config wire.Config) error {
	if !config.Network {
		return nil
	}
	if err := command("modprobe", "virtio_net"); err != nil {
		return err
	}
	return interfaceUp("eth0", []byte{10, 0, 2, 15})
}

// interfaceUp brings an interface up, with an address of a network of 256 unless that is nil.
func interfaceUp(name string, address []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	set := func(what string, number uint) error {
		if err := unix.IoctlIfreq(fd, number, request); err != nil {
			return fmt.Errorf("%s of %s: %w", what, name, err)
		}
		return nil
	}
	if address != nil {
		for _, part := range []struct {
			what   string
			number uint
			value  []byte
		}{{"address", unix.SIOCSIFADDR, address}, {"mask", unix.SIOCSIFNETMASK, []byte{255, 255, 255, 0}}} {
			if err := request.SetInet4Addr(part.value); err != nil {
				return err
			}
			if err := set(part.what, part.number); err != nil {
				return err
			}
		}
	}
	request.SetUint16(unix.IFF_UP)
	return set("flags", unix.SIOCSIFFLAGS)
}
