package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

// plain turns a result into what its JSON is made of: times are UTC, nil slices
// and maps empty, and what the library does not know is null. It says so with
// the zero value: nothing has an empty name or path, or a size of zero. Values
// behind pointers, and those of maps, which are the user's, stay as they are.
func plain(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer:
		switch {
		case v.IsNil():
			return nil
		case v.Elem().Kind() == reflect.Struct:
			return plain(v.Elem())
		}
	case reflect.Slice:
		all := make([]any, v.Len())
		for i := range all {
			all[i] = plain(v.Index(i))
		}
		return all
	case reflect.Map:
		if v.IsNil() {
			return struct{}{}
		}
	case reflect.Struct:
		if t, ok := reflect.TypeAssert[time.Time](v); ok {
			return t.UTC()
		}
		return fields(v)
	case reflect.String, reflect.Uint64:
		if v.IsZero() {
			return nil
		}
	}
	return v.Interface()
}

// fields takes a struct apart by its tags, all of which have a name.
func fields(v reflect.Value) object {
	all := object{}
	for i := range v.NumField() {
		name, option, tagged := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name == "" || tagged && option == "omitempty" && empty(v.Field(i)) {
			continue
		}
		all = append(all, member{name, plain(v.Field(i))})
	}
	return all
}

func empty(v reflect.Value) bool { return v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0 }

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	name  string
	value any
}

// MarshalJSON writes the members.
func (o object) MarshalJSON() ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	buf.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			buf.WriteByte(',')
		}
		if err := enc.Encode(m.name); err != nil {
			return nil, err
		}
		buf.WriteByte(':')
		if err := enc.Encode(m.value); err != nil {
			return nil, err
		}
	}
	buf.WriteByte('}')
	return buf.Bytes(), nil
}
