package dm

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestHintsHaveTwoForms: a program is pointed to fields and methods, the user of the
// command to flags and commands.
func TestHintsHaveTwoForms(t *testing.T) {
	h := newHost(t, ioctltest.Options{})
	h.create(t, both())
	_, errCreate := h.m.Create(h.ctx, both())
	_, errShow := h.m.Show(h.ctx, "other")
	_, errExtend := h.m.Extend(h.ctx, ExtendRequest{Name: "nightly", Size: Size{Bytes: 4 * mib}, Store: "ram"})
	for _, c := range []struct {
		err              error
		library, command string
	}{
		{errCreate, "CreateRequest.Name", "--name"},
		{errShow, "Manager.List", "dmsnap list"},
		{errExtend, "ExtendRequest.", "--"},
	} {
		e, ok := errors.AsType[*Error](c.err)
		if !ok || !strings.Contains(e.Hint, c.library) || !strings.Contains(FailureOf(c.err).Hint, c.command) {
			t.Errorf("%v: hints %q and %q", c.err, e.Hint, FailureOf(c.err).Hint)
		}
		if again := (diagnosis{op: "x"}).fail(c.err); FailureOf(again).Hint != FailureOf(c.err).Hint || !strings.Contains(again.(*Error).Hint, c.library) {
			t.Errorf("passed on: hints %q and %q", again.(*Error).Hint, FailureOf(again).Hint)
		}
	}
	own := &Error{Hint: "as it is: dmsnap list"}
	if FailureOf(own).Hint != own.Hint {
		t.Errorf("a hint of the caller's became %q", FailureOf(own).Hint)
	}
}

// otherFlags are those of programs that hints name beside ours.
var otherFlags = map[string]bool{
	"--tree": true, "--disable-keyring": true, "--repair": true, "--refresh": true, "--type": true, "--mirrorlog": true, "--target": true,
	"--all": true, // of a reason, which is data of Thaw
}

// TestHintsAreTranslated: every flag and command that a text of this module names has
// its other form, so that none is forgotten.
func TestHintsAreTranslated(t *testing.T) {
	hostOnly(t)
	left := regexp.MustCompile(`(^| )(--[a-z][a-z-]+|dmsnap (attach|create|detach|extend|graph|list|mount|recover|remove|show|thaw|umount)\b)`)
	seen := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || path == "hint.go" {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			check(t, err)
			seen += len(left.FindAllString(text, -1))
			for _, found := range left.FindAllStringSubmatch(inLibrary.Replace(text), -1) {
				if !otherFlags[found[2]] {
					t.Errorf("%s: %q names %s", path, text, found[2])
				}
			}
			return true
		})
		return nil
	})
	check(t, err)
	if seen < 20 {
		t.Errorf("%d names in all hints", seen)
	}
}
