package main

import (
	"fmt"
	"strings"
)

// parseStores reads the values of --store: SPEC, or ORIGIN=SPEC for one of the
// given origins. Both sides may contain '='. A reading that is not the only one
// is refused, since a wrong store device would be overwritten.
func parseStores(origins, values []string) (map[string]string, error) {
	stores := make(map[string]string)
	for _, v := range values {
		origin, spec, err := splitStore(origins, v)
		if err != nil {
			return nil, err
		}
		if _, dup := stores[origin]; dup && origin == "" {
			return nil, fmt.Errorf("--store %q is the second store for all origins", v)
		} else if dup {
			return nil, fmt.Errorf("--store %q is the second store for %s", v, origin)
		}
		stores[origin] = spec
	}
	if _, ok := stores[""]; !ok && !covers(stores, origins) {
		stores[""] = "auto"
	}
	return stores, nil
}

func covers(stores map[string]string, origins []string) bool {
	for _, o := range origins {
		if _, ok := stores[o]; !ok {
			return false
		}
	}
	return true
}

// splitStore gives the origin ("" for all) and the spec of one value.
func splitStore(origins []string, value string) (origin, spec string, err error) {
	named := false
	for _, o := range origins {
		rest, ok := strings.CutPrefix(value, o+"=")
		if !ok || o == origin {
			continue
		}
		named = true
		if !isSpec(rest) {
			continue
		}
		if origin != "" {
			return "", "", fmt.Errorf("--store %q is ambiguous: it can mean a store for %s or for %s", value, origin, o)
		}
		origin, spec = o, rest
	}
	switch {
	case origin != "":
		return origin, spec, nil
	case named:
		return "", "", fmt.Errorf("--store %q does not end in a store: auto, ram, ram:LIMIT, a block device's path or file:PATH", value)
	case !isSpec(value):
		return "", "", fmt.Errorf("--store %q is neither a store (auto, ram, ram:LIMIT, a block device's path, file:PATH) nor ORIGIN=STORE for a given origin", value)
	case looksNamed(value):
		return "", "", fmt.Errorf("--store %q names an origin that is not given; write a device path containing '=' as ORIGIN=PATH", value)
	}
	return "", value, nil
}

// isSpec tells whether s has the form of a store.
func isSpec(s string) bool {
	if path, ok := strings.CutPrefix(s, "file:"); ok {
		return strings.HasPrefix(path, "/")
	}
	return s == "auto" || s == "ram" || strings.HasPrefix(s, "ram:") || len(s) > 1 && s[0] == '/'
}

// looksNamed tells whether a device path reads like ORIGIN=SPEC.
func looksNamed(s string) bool {
	if s[0] != '/' {
		return false
	}
	for i := range s {
		if s[i] == '=' && isSpec(s[i+1:]) {
			return true
		}
	}
	return false
}
