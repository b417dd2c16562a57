package schema

import (
	"encoding/json"
	"strings"
	"testing"
)

const example = `{"$schema":"x","type":"object","required":["n","when"],"properties":{
	"n":{"type":["integer","null"],"minimum":0},"when":{"type":"string","format":"date-time"},"dev":{"type":"string","pattern":"^[0-9]+:[0-9]+$"},
	"v":{"const":1},"state":{"enum":["a","b"]},"part":{"anyOf":[{"$ref":"#/$defs/part"},{"type":"null"}]},
	"map":{"type":"object","additionalProperties":{"type":"string"}}},
	"$defs":{"part":{"type":"array","items":{"type":"boolean"}}}}`

func TestCheckWith(t *testing.T) {
	good := `"n":1,"when":"2026-01-01T00:00:00.5Z"`
	for doc, want := range map[string]string{
		`{` + good + `,"part":[true],"map":{"x":"y"},"v":1,"state":"b","dev":"254:0"}`: "",
		`{"n":null,"when":"2026-01-01T00:00:00Z","part":null}`:                         "",
		`{"n":1}`:                       "no when",
		`{"n":1.5,"when":"2026-01-01"}`: "no date-time",
		`{"n":"1",` + good[6:] + `}`:    "no [integer null]",
		`{"n":-1,` + good[6:] + `}`:     "less than 0",
		`{` + good + `,"new":1}`:        "new is not in the schema",
		`{` + good + `,"part":[1]}`:     "no boolean",
		`{` + good + `,"map":{"x":1}}`:  "no string",
		`{` + good + `,"v":2}`:          "is not 1",
		`{` + good + `,"state":"c"}`:    "none of",
		`{` + good + `,"dev":"sda"}`:    "no ^",
		`[]`:                            "no object",
	} {
		var err error
		var v any
		if jerr := json.Unmarshal([]byte(doc), &v); jerr != nil {
			t.Fatal(doc, jerr)
		} else {
			err = CheckWith([]byte(example), v)
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", doc, err, want)
		}
	}
	for _, broken := range []string{`{"oneOf":[]}`, `{"$ref":"#/$defs/x"}`, `{"format":"uri"}`} {
		if CheckWith([]byte(broken), "x") == nil {
			t.Errorf("%s is taken for a schema", broken)
		}
	}
}

func TestCheck(t *testing.T) {
	if err := Check([]byte(`{"schema_version":1,"removals":[{"name":"x"}]}`)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		`{"schema_version":2,"removals":[]}`, `{"schema_version":1}`, `{"schema_version":1,"unheard":[]}`, `{"removals":[]}`, `{`,
		`{"schema_version":1,"removals":[{}]}`, `{"schema_version":1,"removals":[],"sets":[]}`, `{"schema_version":1,"removals":{}}`,
	} {
		if Check([]byte(bad)) == nil {
			t.Errorf("%s is good", bad)
		}
	}
}
