package jsonform

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/targets"
)

// Unmarshal reads what Marshal wrote into the struct that v points to. Members
// that it does not have are passed over.
func Unmarshal(data []byte, v any) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return err
	}
	s := reflect.ValueOf(v).Elem()
	for i := range s.NumField() {
		f := s.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		raw, given := members[name]
		if name == "" || !given {
			continue
		}
		if err := read(raw, s.Field(i).Addr().Interface(), f.Tag.Get("unit")); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func read(raw json.RawMessage, into any, unit string) error {
	switch into := into.(type) {
	case *time.Duration:
		d, err := duration(raw, unit)
		if d != nil {
			*into = *d
		}
		return err
	case **time.Duration:
		d, err := duration(raw, unit)
		*into = d
		return err
	case *targets.DevNo:
		var text *string
		err := json.Unmarshal(raw, &text)
		if err == nil && text != nil {
			*into, err = targets.ParseDevNo(*text)
		}
		return err
	case *[]targets.DevNo:
		var list []json.RawMessage
		err := json.Unmarshal(raw, &list)
		*into = make([]targets.DevNo, len(list))
		for i := range list {
			err = errors.Join(err, read(list[i], &(*into)[i], ""))
		}
		return err
	}
	return json.Unmarshal(raw, into)
}

// duration is nil for null.
func duration(raw json.RawMessage, unit string) (*time.Duration, error) {
	var n *float64
	if err := json.Unmarshal(raw, &n); err != nil || n == nil {
		return nil, err
	}
	one := time.Second
	if unit == "us" {
		one = time.Microsecond
	}
	f := math.Round(*n * float64(one))
	if math.Abs(f) >= math.MaxInt64 {
		return nil, fmt.Errorf("%v is too long a time", *n)
	}
	d := time.Duration(f)
	return &d, nil
}
