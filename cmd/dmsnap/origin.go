package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// absolute makes an origin given by a relative path absolute; the library knows
// no working directory. A tag (UUID=...) is left alone.
func absolute(origin string) (string, error) {
	if origin == "" {
		return "", errors.New("an origin is the empty string")
	}
	tag, _, ok := strings.Cut(origin, "=")
	if ok && slices.Contains([]string{"UUID", "LABEL", "PARTUUID", "PARTLABEL"}, tag) {
		return origin, nil
	}
	return filepath.Abs(origin)
}

// absoluteAll does the same for a list.
func absoluteAll(origins []string) ([]string, error) {
	var all []string
	for _, o := range origins {
		a, err := absolute(o)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// absoluteStores does it for the keys of stores; "" stays.
func absoluteStores(stores map[string]string) (map[string]string, error) {
	all := make(map[string]string)
	for origin, spec := range stores {
		if origin != "" {
			var err error
			if origin, err = absolute(origin); err != nil {
				return nil, err
			}
		}
		if _, dup := all[origin]; dup {
			return nil, fmt.Errorf("two stores are given for %s", origin)
		}
		all[origin] = spec
	}
	return all, nil
}
