package targets_test

import (
	"errors"
	"testing"

	"github.com/dmsnap/dmsnap/targets"
)

func TestInPlace(t *testing.T) {
	for text, ok := range map[string]bool{
		"0 64 linear 8:1 0":                              true,
		"0 32 linear 8:1 0\n32 32 linear 8:1 32":         true,
		"0 32 linear 8:1 0\n32 32 delay 8:1 32 5":        true,
		"0 64 era 253:5 8:1 128":                         true,
		"0 64 delay 8:1 0 5 8:1 0 5 8:1 0 5":             true,
		"0 64 dust 8:1 0 512":                            true,
		"0 64 log-writes 8:1 253:5":                      true,
		"0 64 linear 8:1 8":                              false,
		"0 64 linear 8:2 0":                              false,
		"0 32 linear 8:1 32\n32 32 linear 8:1 0":         false,
		"0 64 era 8:1 8:1 128":                           false,
		"0 64 era 8:1 253:5 128":                         false,
		"0 32 era 253:5 8:1 128\n32 32 linear 8:1 32":    false,
		"0 64 delay 8:1 0 5 8:1 8 5":                     false,
		"0 64 delay 8:1 0 5 253:5 0 5":                   false,
		"0 64 delay 8:1":                                 false,
		"0 64 delay":                                     false,
		"0 64 log-writes 8:1 8:1":                        false,
		"0 64 log-writes":                                false,
		"0 64 striped 1 8 8:1 0":                         false,
		"0 64 flakey 8:1 0 5 5 1 drop_writes":            false,
		"0 64 crypt aes-xts-plain64 :32:logon:k 0 8:1 0": false,
		"0 64 cache 253:5 253:6 8:1 128 0 mq 0":          false,
		"0 64 zero":                                      false,
	} {
		table, err := targets.ParseTable(text)
		if err != nil {
			t.Fatal(err)
		}
		err = table.InPlace(dev81)
		var invalid *targets.InvalidError
		if ok != (err == nil) || !ok && !errors.As(err, &invalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSubstitute(t *testing.T) {
	lower := targets.Device{Path: "/dev/mapper/a b"}
	other := func(d targets.Device) (targets.Device, error) {
		if d == dev81 {
			d = lower
		}
		return d, nil
	}
	for text, want := range map[string]string{
		"0 64 linear 8:1 5":           `0 64 linear /dev/mapper/a\ b 5`,
		"0 64 era 253:5 8:1 128":      `0 64 era 253:5 /dev/mapper/a\ b 128`,
		"0 64 delay 8:1 0 5  8:1 0 5": `0 64 delay /dev/mapper/a\ b 0 5 /dev/mapper/a\ b 0 5`,
		"0 64 delay 8:2 0   5":        "0 64 delay 8:2 0   5", // to the byte
		"0 64 crypt c 8:1 0 8:2  0":   "0 64 crypt c 8:1 0 8:2  0",
		"0 64 snapshot 8:1 8:1 P 8":   `0 64 snapshot /dev/mapper/a\ b /dev/mapper/a\ b P 8`,
		"0 64 snapshot-origin 8:1":    `0 64 snapshot-origin /dev/mapper/a\ b`,
		"0 8 zero\n8 8 linear 8:1 0":  "0 8 zero\n" + `8 8 linear /dev/mapper/a\ b 0`,
	} {
		table, err := targets.ParseTable(text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := table.Substitute(other)
		if err != nil || got.String() != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
		if table.String() != text {
			t.Errorf("the table itself was changed: %v", table)
		}
	}
	failed := errors.New("x")
	for _, text := range []string{"0 64 era 253:5 8:1 128", "0 64 delay 8:1 0 5"} {
		table, _ := targets.ParseTable(text)
		if _, err := table.Substitute(func(targets.Device) (targets.Device, error) { return targets.Device{}, failed }); !errors.Is(err, failed) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
