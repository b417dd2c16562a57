package targets

import "strings"

// isSpace is the kernel's isspace: 0xa0 counts, even inside a UTF-8 sequence
// (lib/ctype.c). A path with the letter "à" is cut in two unless escaped.
func isSpace(c byte) bool {
	return c == ' ' || '\t' <= c && c <= '\r' || c == 0xa0
}

// split cuts a parameter line into words as dm_split_args does: white space
// separates, a backslash takes the next byte as it is.
func split(params string) []string {
	var words []string
	for i := 0; ; {
		for i < len(params) && isSpace(params[i]) {
			i++
		}
		if i == len(params) {
			return words
		}
		var word []byte
		for ; i < len(params) && !isSpace(params[i]); i++ {
			if params[i] == '\\' && i+1 < len(params) {
				i++
			}
			word = append(word, params[i])
		}
		words = append(words, string(word))
	}
}

// escape makes one word of text that may hold white space or backslashes.
func escape(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; isSpace(c) || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// reader takes the words of one parameter line in turn and keeps the first
// error, so that parsers read as a list of fields.
type reader struct {
	kind  string
	words []string
	err   error
}

func newReader(kind, params string) *reader {
	return &reader{kind: kind, words: split(params)}
}

func (r *reader) fail(field, text, reason string) {
	if r.err == nil {
		r.err = &ParseError{Kind: r.kind, Field: field, Text: text, Reason: reason}
	}
}

func (r *reader) more() bool { return r.err == nil && len(r.words) > 0 }

func (r *reader) word(field string) string {
	if len(r.words) == 0 {
		r.fail(field, "", "missing")
		return ""
	}
	w := r.words[0]
	r.words = r.words[1:]
	return w
}

func (r *reader) number(field string, bits int) uint64 {
	text := r.word(field)
	if r.err != nil {
		return 0
	}
	n, err := parseUint(text, bits)
	if err != nil {
		r.fail(field, text, err.Error())
	}
	return n
}

func (r *reader) sectors(field string) Sectors {
	text := r.word(field)
	if r.err != nil {
		return 0
	}
	n, err := parseSectors(text)
	if err != nil {
		r.fail(field, text, err.Error())
	}
	return n
}

func (r *reader) device(field string) Device {
	text := r.word(field)
	if r.err != nil {
		return Device{}
	}
	d, err := ParseDevice(text)
	if err != nil {
		r.fail(field, text, err.Error())
	}
	return d
}

// end is the last call of every parser: words left over are an error.
func (r *reader) end() error {
	if r.more() {
		r.fail("", r.words[0], "unexpected argument")
	}
	return r.err
}
