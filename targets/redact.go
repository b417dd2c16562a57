package targets

import "strings"

// keyMask replaces keys. Its length tells nothing of the key's.
const keyMask = "<key>"

// minKeyDigits is the shortest run of hexadecimal digits that is taken for a
// key in an unknown target: 128 bits.
const minKeyDigits = 32

// Redacted is a target without its keys. Targets without keys come back as
// they are; the others as a Raw that must not be loaded.
func Redacted(t Target) Target {
	switch t.Type() {
	case "crypt", "inlinecrypt", "default-key":
		return redactWords(t, func(i int, w string) string {
			if i == 1 {
				return keyMask
			}
			return w
		})
	case "integrity":
		return redactWords(t, func(_ int, w string) string { return redactIntegrity(w) })
	}
	if raw, ok := t.(Raw); ok && positions(raw.Kind) == nil && !keyless(raw.Kind) {
		return redactWords(t, func(_ int, w string) string { return redactHex(w) })
	}
	return t
}

// keyless targets hold no secrets, whatever their words look like.
func keyless(kind string) bool {
	return kind == "mirror" || kind == "raid" || kind == "multipath"
}

func redactWords(t Target, mask func(i int, word string) string) Target {
	words := split(t.Params())
	for i, w := range words {
		words[i] = w
		if m := mask(i, w); m != w {
			words[i] = m
			continue
		}
		words[i] = escape(w)
	}
	return Raw{Kind: t.Type(), Text: strings.Join(words, " ")}
}

// redactIntegrity masks the key of internal_hash:, journal_crypt: and
// journal_mac:, each "<option>:<algorithm>[:<key>]".
func redactIntegrity(word string) string {
	option, rest, _ := strings.Cut(word, ":")
	algorithm, key, keyed := strings.Cut(rest, ":")
	if !keyed || option == "meta_device" || key == "" {
		return word
	}
	return option + ":" + algorithm + ":" + keyMask
}

// redactHex masks every part of a word, between colons, that is a long run of
// hexadecimal digits.
func redactHex(word string) string {
	parts := strings.Split(word, ":")
	for i, p := range parts {
		if len(p) >= minKeyDigits && strings.Trim(p, "0123456789abcdefABCDEF") == "" {
			parts[i] = keyMask
		}
	}
	return strings.Join(parts, ":")
}
