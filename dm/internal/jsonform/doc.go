// Package jsonform writes the results of package dm as the JSON that is promised
// for them: times are UTC, slices and maps are never null, and what is not known
// is null, never "" or 0. A duration says with the tag `unit:"us"` or `unit:"s"`
// what its number counts.
package jsonform
