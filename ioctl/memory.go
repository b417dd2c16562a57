package ioctl

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// LockMemory keeps every page that the process has or gets in memory, and brings
// in its program and libraries, so that no page fault has to read a frozen
// filesystem or a suspended swap device. Untouched heap stays untouched: a Go
// program reserves far more than it uses. It needs CAP_IPC_LOCK; Linux 5.14 to
// bring the program in. The function it returns unlocks everything, whoever
// locked it.
func LockMemory() (unlock func() error, err error) {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return nil, wrap("lock memory", "", err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(maps)) {
		populate(line)
	}
	return func() error { return wrap("unlock memory", "", unix.Munlockall()) }, nil
}

// populate reads the pages of a mapped file in. An older kernel refuses; its
// pages come with the first use.
func populate(line string) {
	fields := strings.Fields(line)
	if len(fields) < 6 || !strings.HasPrefix(fields[5], "/") {
		return
	}
	from, to, _ := strings.Cut(fields[0], "-")
	start, err1 := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	if err1 == nil && err2 == nil {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_POPULATE_READ)
	}
}

// Shared is a page of memory that two processes see. Single bytes are read and
// written whole; whoever needs an order between two of them makes a system call
// in between.
type Shared struct {
	file *os.File
	page []byte
}

const sharedSize = 4096

// NewShared makes the page. Hand File to the other process.
func NewShared() (*Shared, error) {
	fd, err := unix.MemfdCreate("dmsnap", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, wrap("make shared memory", "", err)
	}
	f := os.NewFile(uintptr(fd), "shared memory")
	if err := f.Truncate(sharedSize); err != nil {
		f.Close()
		return nil, err
	}
	return MapShared(f)
}

// MapShared maps a page that another process made. It takes f over.
func MapShared(f *os.File) (*Shared, error) {
	page, err := unix.Mmap(int(f.Fd()), 0, sharedSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		f.Close()
		return nil, wrap("map shared memory", "", err)
	}
	return &Shared{file: f, page: page}, nil
}

// File is the descriptor to pass on.
func (s *Shared) File() *os.File { return s.file }

// Load reads byte i, below 4096.
func (s *Shared) Load(i int) byte { return s.page[i] }

// Store writes byte i, below 4096.
func (s *Shared) Store(i int, v byte) { s.page[i] = v }

// Close unmaps the page.
func (s *Shared) Close() error {
	err := unix.Munmap(s.page)
	s.page = nil
	if cerr := s.file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("unmap shared memory: %w", err)
	}
	return nil
}
