package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/dmsnap/dmsnap/dm"
)

// defaultConfig need not exist.
const defaultConfig = "/etc/dmsnap/dmsnap.conf"

// maxConfig bounds what is read of a configuration file.
const maxConfig = 1 << 20

// readConfig reads what dmsnap chooses for a set where flags leave it open. Only
// commands that make stores do: a broken file keeps nobody from removing a set.
func readConfig(path string) (dm.Policy, error) {
	c, err := readConfigFile(path)
	if err != nil {
		return dm.Policy{}, err
	}
	return c.policy(), nil
}

// readMonitorConfig reads what stands for the flags of monitor, by their names.
func readMonitorConfig(path string) (map[string][]string, error) {
	c, err := readConfigFile(path)
	if err != nil {
		return nil, err
	}
	return c.monitor, nil
}

func readConfigFile(path string) (*config, error) {
	b, err := os.ReadFile(path)
	switch {
	case path == defaultConfig && errors.Is(err, fs.ErrNotExist):
		return &config{}, nil
	case err != nil:
		return nil, configError(path, err)
	case len(b) > maxConfig:
		return nil, configError(path, fmt.Errorf("%s is larger than %d bytes", path, maxConfig))
	}
	c, err := parseConfig(b)
	if err != nil {
		return nil, configError(path, fmt.Errorf("%s:%w", path, err))
	}
	return c, nil
}

func configError(path string, err error) error {
	return &dm.Error{Op: "config", Device: path, Code: dm.CodeUsage, Err: err, Hint: "dmsnap.conf(5) describes the file"}
}

// parseConfig reads KEY = VALUE lines; those below a line [ORIGIN] are for that
// origin. Nothing is guessed: what is not known is an error.
func parseConfig(text []byte) (*config, error) {
	c := &config{origins: map[string]*dm.OriginPolicy{}, keys: map[string]bool{}}
	c.own = &c.all
	for i, line := range strings.Split(string(text), "\n") {
		if err := c.read(strings.TrimSpace(line)); err != nil {
			return nil, fmt.Errorf("%d: %w", i+1, err)
		}
	}
	return c, nil
}

func (c *config) policy() dm.Policy {
	p := dm.Policy{OriginPolicy: c.all}
	for name, own := range c.origins {
		if p.Origins == nil {
			p.Origins = map[string]dm.OriginPolicy{}
		}
		p.Origins[name] = *own
	}
	return p
}

// config is a file read as far as some line.
type config struct {
	all     dm.OriginPolicy
	origins map[string]*dm.OriginPolicy
	monitor map[string][]string // nil: it has no section
	own     *dm.OriginPolicy    // of the section, nil in that of the monitor
	keys    map[string]bool     // seen in the section
}

func (c *config) read(line string) error {
	switch {
	case line == "" || line[0] == '#' || line[0] == ';':
		return nil
	case line[0] == '[':
		return c.section(line)
	}
	key, value, err := splitLine(line)
	switch {
	case err != nil:
		return err
	case c.keys[key] && key != "store" && key != "spill":
		return fmt.Errorf("%s is given twice", key)
	}
	c.keys[key] = true
	return c.set(key, value)
}

// splitLine parts KEY = VALUE.
func splitLine(line string) (key, value string, err error) {
	key, value, found := strings.Cut(line, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	if !found || key == "" || value == "" {
		return "", "", fmt.Errorf("%q is not KEY = VALUE", line)
	}
	return key, value, nil
}

func (c *config) section(line string) error {
	name, closed := strings.CutSuffix(line[1:], "]")
	name = strings.TrimSpace(name)
	switch {
	case !closed || name == "":
		return fmt.Errorf("%q is not a section: write [ORIGIN]", line)
	case name == monitorSection && c.monitor == nil:
	case name[0] != '/' && name != monitorSection && !strings.Contains(name, "="):
		return fmt.Errorf("%q is not an origin: write a path, UUID=, LABEL=, PARTUUID= or PARTLABEL=", name)
	case c.origins[name] != nil, name == monitorSection:
		return fmt.Errorf("section [%s] is given twice", name)
	}
	c.keys = map[string]bool{}
	if name == monitorSection {
		c.own, c.monitor = nil, map[string][]string{}
		return nil
	}
	c.own = &dm.OriginPolicy{}
	c.origins[name] = c.own
	return nil
}

// monitorSection has what stands for the flags of dmsnap monitor.
const monitorSection = "monitor"

// monitorKeys are those flags.
var monitorKeys = []string{"threshold", "step", "limit", "spill", "interval", "flatten-depth", "flatten-rate", "listen", "textfile"}

func (c *config) set(key, value string) error {
	if c.own == nil {
		if !slices.Contains(monitorKeys, key) {
			return fmt.Errorf("unknown key %q: use an option of dmsnap monitor", key)
		}
		c.monitor[key] = append(c.monitor[key], value)
		return nil
	}
	keys := configKeys()
	i := slices.IndexFunc(keys, func(k configKey) bool { return k.name == key })
	if i < 0 {
		return fmt.Errorf("unknown key %q: use store, limit, reserve or chunk", key)
	}
	return keys[i].set(c.own, value)
}

// configKey is what may stand before a "=". The manual has the same list.
type configKey struct {
	name, value, help string
	set               func(own *dm.OriginPolicy, value string) error
}

func configKeys() []configKey {
	return []configKey{
		{"store", "SPEC", "A block device, file:PATH, ram or ram:LIMIT to try before the automatic choice. " +
			"May be repeated: the first usable one with enough room is taken.", setStore},
		{
			"limit", "SIZE", "Largest size of a store when --size is not given. A percentage is of the origin.",
			func(own *dm.OriginPolicy, v string) error { return own.Limit.UnmarshalText([]byte(v)) },
		},
		{
			"reserve", "SIZE", "Space that stores leave free on a filesystem. A percentage is of the filesystem. Default: 5%, at most 1g.",
			func(own *dm.OriginPolicy, v string) error { return own.Reserve.UnmarshalText([]byte(v)) },
		},
		{"chunk", "SIZE", "Copy-on-write unit when --chunk is not given, a power of two. Default: 64k.", setChunk},
	}
}

func setStore(own *dm.OriginPolicy, value string) error {
	if value == "auto" || !isSpec(value) {
		return fmt.Errorf("%q is not a store: write the path of a block device, file:PATH, ram or ram:LIMIT", value)
	}
	own.Stores = append(own.Stores, value)
	return nil
}

func setChunk(own *dm.OriginPolicy, value string) error {
	var chunk dm.Size
	if err := chunk.UnmarshalText([]byte(value)); err != nil {
		return err
	}
	if chunk.Percent != 0 || chunk.Bytes&(chunk.Bytes-1) != 0 {
		return fmt.Errorf("chunk size %s is not a power of two", chunk)
	}
	own.ChunkBytes = chunk.Bytes
	return nil
}
