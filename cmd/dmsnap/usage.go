package main

import (
	"errors"
	"regexp"
	"strings"
)

// usageTexts put what the parser says of a wrong command line into the words of
// the manual. The first that matches is used.
var usageTexts = []struct {
	says *regexp.Regexp
	text string
}{
	{regexp.MustCompile(`^unexpected argument ([^\s,]+), did you mean (.+)\?$`), `unknown command "$1"; did you mean $2?`},
	{regexp.MustCompile(`^unexpected argument (\S+)$`), `unknown command "$1"`},
	{regexp.MustCompile(`^expected one of .*$`), `no command given`},
	{regexp.MustCompile(`^expected "<origin> \.\.\."$`), `name at least one device or mount point`},
	{regexp.MustCompile(`^expected "(.+)"$`), `missing argument $1`},
	{regexp.MustCompile(`^(.+) can't be used together$`), `$1 exclude each other`},
	{regexp.MustCompile(`^<\S+>: (.*)$`), `$1`},
}

// otherNames are commands of other tools that mean one of ours, and are not
// similar enough for the parser to find it.
var otherNames = map[string]string{
	"status": "show", "info": "show", "delete": "remove", "help": "--help",
}

// usageError is what the parser says, as the manual would say it.
func usageError(err error, command string) error {
	text := err.Error()
	for _, t := range usageTexts {
		if t.says.MatchString(text) {
			text = t.says.ReplaceAllString(text, t.text)
			break
		}
	}
	if command != "" {
		return errors.New(strings.Replace(text, "unknown command", "unexpected argument", 1))
	}
	for name, ours := range otherNames {
		if unknown := `unknown command "` + name + `"`; strings.HasPrefix(text, unknown) {
			return errors.New(unknown + `; did you mean "` + ours + `"?`)
		}
	}
	return errors.New(text)
}
