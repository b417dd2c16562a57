package vm

import (
	"fmt"
	"io"
)

// cpioWriter writes the "newc" archive that the kernel takes as an initramfs: regular files and directories of root.
type cpioWriter struct {
	w     io.Writer
	inode int
	err   error
}

const (
	cpioFile    = 0o100000
	cpioDir     = 0o040000
	cpioTrailer = "TRAILER!!!"
)

func (c *cpioWriter) dir(name string) { c.entry(name, cpioDir|0o755, nil) }

func (c *cpioWriter) file(name string, mode int, data []byte) { c.entry(name, cpioFile|mode, data) }

// entry writes header, name and data, each padded to four bytes. The first error sticks; close returns it.
func (c *cpioWriter) entry(name string, mode int, data []byte) {
	c.inode++
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		c.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	c.write([]byte(header + name + "\x00"))
	c.pad(len(header) + len(name) + 1)
	c.write(data)
	c.pad(len(data))
}

func (c *cpioWriter) pad(size int) { c.write(make([]byte, (4-size%4)%4)) }

func (c *cpioWriter) write(data []byte) {
	if c.err == nil {
		_, c.err = c.w.Write(data)
	}
}

func (c *cpioWriter) close() error {
	c.entry(cpioTrailer, 0, nil)
	return c.err
}
