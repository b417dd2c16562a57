package ioctl

import "testing"

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
