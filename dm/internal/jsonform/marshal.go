package jsonform

import (
	"bytes"
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/targets"
)

var durationType = reflect.TypeFor[time.Duration]()

// Marshal writes a struct; all its exported fields have a tag with a name. The
// methods of its type are not called, so that they can call Marshal.
func Marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	err := write(&buf, fields(reflect.ValueOf(v)))
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), err
}

// form turns a value into what its JSON is made of. Not known is what has the zero
// value: nothing has an empty name or path, or a size of zero. Numbers behind
// pointers, and the values of maps, which are the user's, stay as they are.
func form(v reflect.Value, unit string) any {
	switch v.Kind() {
	case reflect.Pointer:
		return pointer(v, unit)
	case reflect.Slice:
		all := make([]any, v.Len())
		for i := range all {
			all[i] = form(v.Index(i), "")
		}
		return all
	case reflect.Map:
		if v.IsNil() {
			return struct{}{}
		}
	case reflect.Struct:
		return structure(v)
	case reflect.Int64:
		if v.Type() == durationType {
			return count(time.Duration(v.Int()), unit)
		}
	case reflect.String, reflect.Uint64:
		if v.IsZero() {
			return nil
		}
	}
	return v.Interface()
}

func pointer(v reflect.Value, unit string) any {
	elem := v.Type().Elem()
	switch {
	case v.IsNil():
		return nil
	case elem.Kind() == reflect.Struct, elem == durationType:
		return form(v.Elem(), unit)
	}
	return v.Interface()
}

func structure(v reflect.Value) any {
	switch t := v.Interface().(type) {
	case time.Time:
		return t.UTC()
	case targets.DevNo:
		if v.IsZero() {
			return nil
		}
		return t.String()
	case encoding.TextMarshaler:
		if v.IsZero() {
			return nil
		}
		return t
	}
	return fields(v)
}

// count is a duration as a number: whole microseconds, or seconds.
func count(d time.Duration, unit string) any {
	if unit == "us" {
		return d.Microseconds()
	}
	return d.Seconds()
}

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	name  string
	value any
}

func fields(v reflect.Value) object {
	all := object{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || option == "omitempty" && empty(v.Field(i)) {
			continue
		}
		all = append(all, member{name, form(v.Field(i), f.Tag.Get("unit"))})
	}
	return all
}

func empty(v reflect.Value) bool { return v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0 }

// MarshalJSON writes the members.
func (o object) MarshalJSON() ([]byte, error) {
	var buf bytes.Buffer
	buf.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			buf.WriteByte(',')
		}
		if err := write(&buf, m.name); err != nil {
			return nil, err
		}
		buf.WriteByte(':')
		if err := write(&buf, m.value); err != nil {
			return nil, err
		}
	}
	buf.WriteByte('}')
	return buf.Bytes(), nil
}

// write leaves < > & as they are; who embeds JSON in HTML has json.Marshal, which
// escapes them.
func write(buf *bytes.Buffer, v any) error {
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
