package main

import (
	"errors"
	"strings"
)

// splitWords parts a command line at blanks. What is in single or double quotes stays
// together; nothing is expanded, and there is no escape.
func splitWords(line string) (words []string, err error) {
	var word strings.Builder
	quote, within := rune(0), false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, within = r, true
		case quote == 0 && (r == ' ' || r == '\t'):
			if within {
				words = append(words, word.String())
				word.Reset()
				within = false
			}
		default:
			word.WriteRune(r)
			within = true
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote is not closed")
	}
	if within {
		words = append(words, word.String())
	}
	return words, nil
}
