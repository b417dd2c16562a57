package ioctl

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// LockMemory keeps every page that the process has or gets in memory, and brings
// in its program and libraries and what was swapped out, so that no page fault has
// to read a frozen filesystem or a suspended swap device. Untouched heap stays
// untouched: a Go program reserves far more than it uses. It needs CAP_IPC_LOCK;
// Linux 5.14 to bring pages in. After an error some of it may be locked.
func LockMemory() error {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return wrap("lock memory", "", err)
	}
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return err
	}
	absent(string(maps), func(start, end uintptr) {
		// An older kernel refuses; its pages come with the first use.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_POPULATE_READ)
	})
	return nil
}

// UnlockMemory unlocks all memory of the process, even if another part of it locked some.
func UnlockMemory() error { return wrap("unlock memory", "", unix.Munlockall()) }

// absent names the mappings that a page fault may have to read from a disk, from
// the text of smaps: those of files, and those with pages in swap.
func absent(smaps string, name func(start, end uintptr)) {
	var start, end uintptr
	for line := range strings.Lines(smaps) {
		fields := strings.Fields(line)
		switch {
		case len(fields) >= 5 && !strings.HasSuffix(fields[0], ":"):
			if _, err := fmt.Sscanf(fields[0], "%x-%x", &start, &end); err == nil && len(fields) > 5 && strings.HasPrefix(fields[5], "/") {
				name(start, end)
			}
		case len(fields) == 3 && fields[0] == "Swap:" && fields[1] != "0":
			name(start, end)
		}
	}
}

// Shared is a page of memory that two processes see. Single bytes are read and
// written whole; a caller that needs an order between two of them makes a system call
// in between.
type Shared struct {
	file *os.File
	page []byte
}

const sharedSize = 4096

// NewShared makes the page. Hand File to the other process.
func NewShared() (*Shared, error) {
	fd, err := unix.MemfdCreate("window", unix.MFD_CLOEXEC)
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
