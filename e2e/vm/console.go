package vm

import (
	"regexp"
	"strings"
	"sync"
)

// escapes are the terminal sequences firmware prints before the kernel starts.
var escapes = regexp.MustCompile(`\x1b(\[[0-9;?]*[A-Za-z]|[A-Za-z])`)

// trouble matches what a healthy kernel never prints.
var trouble = regexp.MustCompile(`Kernel panic|Oops|\bBUG:|kernel BUG at|\bWARNING:|general protection fault|` +
	`INFO: task .* blocked for|UBSAN:|hung task|^init: |^agent: `)

// console collects the serial console as clean lines. Safe for concurrent use.
type console struct {
	mu      sync.Mutex
	lines   []string
	partial string
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := c.partial + string(p)
	for {
		line, rest, found := strings.Cut(text, "\n")
		if !found {
			break
		}
		c.lines = append(c.lines, cleanLine(line))
		text = rest
	}
	c.partial = text
	return len(p), nil
}

func cleanLine(line string) string {
	return strings.ReplaceAll(escapes.ReplaceAllString(line, ""), "\r", "")
}

// tail returns the last n lines, the unfinished one included.
func (c *console) tail(n int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := append([]string{}, c.lines...)
	if last := cleanLine(c.partial); last != "" {
		lines = append(lines, last)
	}
	return lines[max(0, len(lines)-n):]
}

// mark is a place in the console to look from.
func (c *console) mark() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lines)
}

// troubles returns the lines since mark that tell of a kernel problem.
func (c *console) troubles(mark int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []string
	for _, line := range c.lines[mark:] {
		if trouble.MatchString(line) {
			found = append(found, line)
		}
	}
	return found
}
