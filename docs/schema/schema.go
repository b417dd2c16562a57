// Package schema has the JSON Schemas (draft 2020-12) of what dmsnap prints with
// --json, and checks documents against them. It is for tests: the files are what
// programs in any language use. They are made from the types of the results, by
// TestSchemas in cmd/dmsnap.
package schema

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

//go:embed *.json
var files embed.FS

// Check checks one document of dmsnap's: an object with schema_version and one
// other key, after which its schema is named. A property that the schema does not
// have is an error here, though it is none for users: later versions may add some.
func Check(document []byte) error {
	var doc map[string]any
	if err := json.Unmarshal(document, &doc); err != nil {
		return err
	}
	for key := range doc {
		if key == "schema_version" {
			continue
		}
		text, err := files.ReadFile(key + ".json")
		if err != nil {
			return err
		}
		return CheckWith(text, doc)
	}
	return errors.New("it has no result")
}

// CheckWith checks a decoded document with the text of a schema.
func CheckWith(schema []byte, doc any) error {
	var root map[string]any
	if err := json.Unmarshal(schema, &root); err != nil {
		return err
	}
	c := checker{root: root}
	c.check(root, doc, "")
	return errors.Join(c.errs...)
}

type checker struct {
	root map[string]any
	errs []error
}

func (c *checker) fail(at, format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...)))
}

// check knows the keywords that the schemas use, and no other.
func (c *checker) check(schema map[string]any, v any, at string) {
	for keyword, value := range schema {
		switch keyword {
		case "$schema", "$id", "$defs", "title", "description":
		case "$ref":
			c.reference(value.(string), v, at)
		case "anyOf":
			c.anyOf(value.([]any), v, at)
		case "type":
			c.kind(value, v, at)
		case "const":
			if v != value {
				c.fail(at, "%v is not %v", v, value)
			}
		case "enum":
			if !slices.Contains(value.([]any), v) {
				c.fail(at, "%v is none of %v", v, value)
			}
		case "minimum":
			if n, ok := v.(float64); ok && n < value.(float64) {
				c.fail(at, "%v is less than %v", n, value)
			}
		case "format", "pattern":
			c.text(keyword, value.(string), v, at)
		case "items":
			items, _ := v.([]any)
			for i, item := range items {
				c.check(value.(map[string]any), item, fmt.Sprintf("%s[%d]", at, i))
			}
		case "required", "properties", "additionalProperties":
		default:
			c.fail(at, "the schema has the unknown keyword %s", keyword)
		}
	}
	if object, ok := v.(map[string]any); ok {
		c.object(schema, object, at)
	}
}

func (c *checker) reference(ref string, v any, at string) {
	defs, _ := c.root["$defs"].(map[string]any)
	target, ok := defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
	if !ok {
		c.fail(at, "the schema has no %s", ref)
		return
	}
	c.check(target, v, at)
}

func (c *checker) anyOf(schemas []any, v any, at string) {
	var all []error
	for _, s := range schemas {
		one := checker{root: c.root}
		one.check(s.(map[string]any), v, at)
		if len(one.errs) == 0 {
			return
		}
		all = append(all, one.errs...)
	}
	c.errs = append(c.errs, all...)
}

func (c *checker) kind(want, v any, at string) {
	kinds, several := want.([]any)
	if !several {
		kinds = []any{want}
	}
	for _, k := range kinds {
		if isKind(k.(string), v) {
			return
		}
	}
	c.fail(at, "%v is no %v", v, want)
}

func isKind(kind string, v any) bool {
	switch v := v.(type) {
	case nil:
		return kind == "null"
	case bool:
		return kind == "boolean"
	case string:
		return kind == "string"
	case []any:
		return kind == "array"
	case map[string]any:
		return kind == "object"
	case float64:
		return kind == "number" || kind == "integer" && v == float64(int64(v))
	}
	return false
}

func (c *checker) text(keyword, want string, v any, at string) {
	s, ok := v.(string)
	if !ok {
		return
	}
	good := true
	switch {
	case keyword == "pattern":
		good, _ = regexp.MatchString(want, s)
	case want == "date-time":
		_, err := time.Parse(time.RFC3339Nano, s)
		good = err == nil
	default:
		c.fail(at, "the schema has the unknown format %s", want)
	}
	if !good {
		c.fail(at, "%q is no %s", s, want)
	}
}

func (c *checker) object(schema, object map[string]any, at string) {
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := object[name.(string)]; !ok {
			c.fail(at, "there is no %s", name)
		}
	}
	properties, known := schema["properties"].(map[string]any)
	others, open := schema["additionalProperties"].(map[string]any)
	for name, value := range object {
		switch of, ok := properties[name].(map[string]any); {
		case ok:
			c.check(of, value, at+"."+name)
		case open:
			c.check(others, value, at+"."+name)
		case known:
			c.fail(at, "%s is not in the schema", name)
		}
	}
}
