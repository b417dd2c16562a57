package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	block    = 4096
	file     = mountpoint + "/direct"
	fileSize = 128 << 20
)

// load is one kind of work on the filesystem.
type load struct {
	name string
	run  func() (perSecond float64, err error)
}

func (m medium) loads() []load {
	return []load{
		{"4 KiB direct writes", func() (float64, error) { return direct(m.writes) }},
		{"files made, synced, removed", func() (float64, error) { return files(m.writes / 10) }},
	}
}

// prepare makes the file whose blocks are overwritten.
func prepare() error {
	if err := os.WriteFile(file, make([]byte, fileSize), 0o600); err != nil {
		return err
	}
	unix.Sync()
	return nil
}

func direct(n int) (float64, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf, err := unix.Mmap(-1, 0, block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(buf)
	places := rand.New(rand.NewPCG(1, 2)) // the same for all
	return rate(n, func(int) error {
		_, err := f.WriteAt(buf, places.Int64N(fileSize/block)*block)
		return err
	})
}

func files(n int) (float64, error) {
	dir, err := os.MkdirTemp(mountpoint, "files")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	text := make([]byte, 16<<10)
	return rate(n, func(i int) error {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.Write(text); err != nil {
			return err
		}
		if i%3 == 2 {
			if err := os.Remove(filepath.Join(dir, fmt.Sprint(i-1))); err != nil {
				return err
			}
		}
		return f.Sync()
	})
}
