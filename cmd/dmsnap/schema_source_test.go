package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// source is what the schemas take from source files: the comments of types and
// fields, and the values that constants of a type have.
type source struct {
	comments map[string]string
	values   map[string][]any
}

func readSource(t *testing.T, dirs ...string) source {
	t.Helper()
	s := source{map[string]string{}, map[string][]any{}}
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range parsed.Decls {
				if d, ok := d.(*ast.GenDecl); ok {
					s.read(d)
				}
			}
		}
	}
	return s
}

func (s source) read(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			s.comments[spec.Name.Name] = oneLine(d.Doc)
			if of, ok := spec.Type.(*ast.StructType); ok {
				s.fields(spec.Name.Name, of)
			}
		case *ast.ValueSpec:
			s.constant(spec)
		}
	}
}

func (s source) fields(name string, of *ast.StructType) {
	for _, f := range of.Fields.List {
		for _, n := range f.Names {
			s.comments[name+"."+n.Name] = strings.TrimSpace(oneLine(f.Doc) + " " + oneLine(f.Comment))
		}
	}
}

func (s source) constant(spec *ast.ValueSpec) {
	typ, named := spec.Type.(*ast.Ident)
	if !named || len(spec.Values) != 1 {
		return
	}
	if v, ok := spec.Values[0].(*ast.BasicLit); ok && v.Kind == token.STRING {
		if text, err := strconv.Unquote(v.Value); err == nil {
			s.values[typ.Name] = append(s.values[typ.Name], text)
		}
	}
}

// oneLine is a comment in the words of JSON.
func oneLine(c *ast.CommentGroup) string {
	text := strings.Join(strings.Fields(c.Text()), " ")
	return strings.NewReplacer(`""`, "null", "Nil:", "null:", "Nil ", "null ", " nil", " null").Replace(text)
}
