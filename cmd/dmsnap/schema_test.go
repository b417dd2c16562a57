package main

import (
	"bytes"
	"encoding"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/dm"
	"github.com/dmsnap/dmsnap/docs/schema"
	"github.com/google/go-cmp/cmp"
)

// outputs are what --json prints: the key, and one item of its array. Only an error
// stands alone.
var outputs = map[string]any{
	"sets": dm.Set{}, "events": dm.Event{}, "plans": dm.Plan{}, "preparations": preparation{}, "mounts": dm.Mounted{}, "removals": removal{}, "prunings": dm.Pruned{}, "executions": verdict{}, "runs": runResult{}, "checks": checkResult{},
	"attachments": dm.Attachment{}, "recoveries": dm.Recovered{}, "thaws": dm.Thawed{}, "unpins": dm.Unpinned{}, "reports": dm.Report{},
	"explanations": dm.Explanation{}, "extents": dm.Extent{}, "ends": listEnd{}, "graphs": dm.Graph{}, "scripts": script{}, "files": writtenFile{}, "versions": build{}, "error": dm.Failure{},
}

// TestSchemas: the schemas in docs are those of the types.
func TestSchemas(t *testing.T) {
	source := readSource(t, "../../dm", ".")
	for key, item := range outputs {
		got := schemaOf(key, item, source)
		path := filepath.Join("..", "..", "docs", "schema", key+".json")
		if flag.Lookup("update").Value.String() == "true" {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s: -want +got (go test -update writes it anew):\n%s", key, diff)
		}
	}
	files, err := filepath.Glob("../../docs/schema/*.json")
	if err != nil || len(files) != len(outputs) {
		t.Errorf("%d files, %v", len(files), err)
	}
}

// TestOutputsHaveSchemas: what the commands print in tests and what the docs show is
// as the schemas say.
func TestOutputsHaveSchemas(t *testing.T) {
	seen := map[string]bool{}
	for name, g := range goldens() {
		o := do(t, &g.stub, append(strings.Fields(g.args), "--json")...)
		for line := range strings.Lines(o.stdout) {
			if err := schema.Check([]byte(line)); err != nil {
				t.Errorf("%s: %v\n%s", name, err, line)
			}
			var doc map[string]any
			if err := json.Unmarshal([]byte(line), &doc); err != nil {
				t.Fatal(err)
			}
			for key := range doc {
				seen[key] = true
			}
		}
	}
	for _, line := range []string{"version", "completion bash"} {
		if o := do(t, &stub{}, append(strings.Fields(line), "--json")...); schema.Check([]byte(o.stdout)) != nil {
			t.Errorf("%s: %v", line, schema.Check([]byte(o.stdout)))
		}
	}
	for key := range outputs {
		if elsewhere := []string{"preparations", "executions", "runs", "checks", "files", "versions", "scripts"}; !seen[key] && !slices.Contains(elsewhere, key) {
			t.Errorf("no test prints %s", key)
		}
	}
	text, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	for block := range strings.SplitSeq(string(text), "\n\n") {
		if example, found := strings.CutPrefix(block, "    {\"schema_version\""); found {
			if err := schema.Check([]byte("{\"schema_version\"" + example)); err != nil {
				t.Errorf("docs/cli.md: %v\n%s", err, block)
			}
		}
	}
}

// schemaOf makes the schema of one output.
func schemaOf(key string, item any, source source) []byte {
	m := schemaMaker{source: source, defs: map[string]any{}}
	ref := m.of(reflect.TypeOf(item), "")
	value := any(map[string]any{"type": "array", "items": ref})
	if key == "error" {
		value = ref
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "dmsnap: " + key,
		"type": "object", "required": []string{"schema_version", key},
		"properties": map[string]any{"schema_version": map[string]any{"const": schemaVersion}, key: value},
		"$defs":      m.defs,
	})
	if err != nil {
		panic(err) // strings and maps have a JSON
	}
	return out.Bytes()
}

type schemaMaker struct {
	source source
	defs   map[string]any
}

// of is the schema of a type; unit is the tag of a duration.
func (m *schemaMaker) of(t reflect.Type, unit string) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[time.Duration]() && unit == "us":
		return map[string]any{"type": "integer"}
	case t == reflect.TypeFor[time.Duration]():
		return map[string]any{"type": "number", "minimum": 0}
	case isText(t):
		return map[string]any{"type": "string"}
	case t.Kind() == reflect.Struct:
		m.define(t)
		return map[string]any{"$ref": "#/$defs/" + t.Name()}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return m.of(t.Elem(), unit)
	case reflect.Slice:
		return map[string]any{"type": "array", "items": m.of(t.Elem(), "")}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": map[string]any{"type": "string"}}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	}
	if values := m.source.values[t.Name()]; values != nil {
		return map[string]any{"enum": values}
	}
	return map[string]any{"type": "string"}
}

func (m *schemaMaker) define(t reflect.Type) {
	if m.defs[t.Name()] != nil {
		return
	}
	properties, required := map[string]any{}, []string{}
	def := map[string]any{"type": "object", "properties": properties}
	m.defs[t.Name()] = def
	for f := range t.Fields() {
		name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			continue
		}
		s := m.of(f.Type, f.Tag.Get("unit"))
		if option != "omitempty" {
			required = append(required, name)
			if nullable(t, f.Type) {
				s = orNull(s)
			}
		}
		if text := m.source.comments[t.Name()+"."+f.Name]; text != "" {
			s["description"] = text
		}
		properties[name] = s
	}
	def["required"] = required
	if text := m.source.comments[t.Name()]; text != "" {
		def["description"] = text
	}
}

// nullable: what the library does not know is null, but it always knows some things.
func nullable(in, t reflect.Type) bool {
	always := []string{"State", "Code", "EventKind", "Level", "Topic", "Phase", "Subject", "HolderKind", "FreezeMethod", "Redirector"}
	switch {
	case t.Kind() == reflect.Pointer, in == reflect.TypeFor[dm.Set]() && t == reflect.TypeFor[dm.State]():
		return true
	case in == reflect.TypeFor[dm.Extent]():
		return false // an offset of 0 is known
	case in.PkgPath() != reflect.TypeFor[dm.Set]().PkgPath(), slices.Contains(always, t.Name()):
		return false
	}
	return isText(t) || t.Kind() == reflect.String || t.Kind() == reflect.Uint64
}

// isText tells structs whose JSON is a string.
func isText(t reflect.Type) bool {
	return t == reflect.TypeFor[dm.DevNo]() ||
		t.Kind() == reflect.Struct && t != reflect.TypeFor[time.Time]() && t.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}

func orNull(s map[string]any) map[string]any {
	switch {
	case s["enum"] != nil:
		s["enum"] = append(slices.Clone(s["enum"].([]any)), nil)
	case s["type"] != nil:
		s["type"] = []any{s["type"], "null"}
	default:
		return map[string]any{"anyOf": []any{s, map[string]any{"type": "null"}}}
	}
	return s
}
