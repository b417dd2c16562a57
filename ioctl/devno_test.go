package ioctl

import "testing"

func TestDevNo(t *testing.T) {
	for text, d := range map[string]DevNo{
		"0:0":          {},
		"8:17":         {8, 17},
		"254:300":      {254, 300},
		"4095:1048575": {4095, 1048575},
	} {
		got, err := ParseDevNo(text)
		if err != nil || got != d || d.String() != text {
			t.Errorf("%s: got %v, %v, %s", text, got, err, d)
		}
		if fromHuge(d.huge()) != d || DevNoOf(d.Rdev()) != d {
			t.Errorf("%s: %v and %v after encoding", text, fromHuge(d.huge()), DevNoOf(d.Rdev()))
		}
	}
	if h := (DevNo{254, 0x12345}).huge(); h != 0x1230fe45 {
		t.Errorf("%#x", h)
	}
	for _, bad := range []string{"", ":", "8", "8:", ":8", "8:1:2", "-1:0", "+1:0", " 8:1", "8:1\n", "0x8:1", "4096:0", "0:1048576"} {
		if d, err := ParseDevNo(bad); err == nil {
			t.Errorf("%q: got %v", bad, d)
		}
	}
}

func FuzzDevNo(f *testing.F) {
	f.Add("254:3")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDevNo(s)
		if err != nil {
			return
		}
		if again, err := ParseDevNo(d.String()); err != nil || again != d || !d.valid() {
			t.Errorf("%q: %v, then %v, %v", s, d, again, err)
		}
	})
}

func TestFlagsString(t *testing.T) {
	for flags, want := range map[Flags]string{
		0:                             "0",
		SkipLockFS | NoFlush:          "SkipLockFS|NoFlush",
		ReadOnly | 1<<20:              "ReadOnly|0x100000",
		DeferredRemove | SecureData:   "SecureData|DeferredRemove",
		PersistentDev | QueryInactive: "PersistentDev|QueryInactive",
	} {
		if flags.String() != want {
			t.Errorf("%#x: %s", uint32(flags), flags)
		}
	}
}
