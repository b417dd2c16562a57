// Package userland tests what dmsnap's packages bring to a machine with systemd as process 1: boot, shutdown, units.
package userland
