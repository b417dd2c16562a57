package ioctl

import (
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestLayout(t *testing.T) {
	var h unix.DmIoctl
	var s unix.DmTargetSpec
	var m unix.DmTargetMsg
	var d unix.DmTargetDeps
	var v unix.DmTargetVersions
	for _, c := range []struct {
		what      string
		got, want uintptr
	}{
		{"sizeof(struct dm_ioctl)", headerSize, unsafe.Sizeof(h)},
		{"data", plainSize, unsafe.Offsetof(h.Data)},
		{"data_size", 12, unsafe.Offsetof(h.Data_size)},
		{"data_start", 16, unsafe.Offsetof(h.Data_start)},
		{"target_count", 20, unsafe.Offsetof(h.Target_count)},
		{"open_count", 24, unsafe.Offsetof(h.Open_count)},
		{"flags", 28, unsafe.Offsetof(h.Flags)},
		{"event_nr", 32, unsafe.Offsetof(h.Event_nr)},
		{"dev", 40, unsafe.Offsetof(h.Dev)},
		{"name", 48, unsafe.Offsetof(h.Name)},
		{"uuid", 176, unsafe.Offsetof(h.Uuid)},
		{"DM_NAME_LEN", nameSize, unsafe.Sizeof(h.Name)},
		{"DM_UUID_LEN", uuidSize, unsafe.Sizeof(h.Uuid)},
		{"sizeof(struct dm_target_spec)", specSize, unsafe.Sizeof(s)},
		{"spec status", 16, unsafe.Offsetof(s.Status)},
		{"spec next", 20, unsafe.Offsetof(s.Next)},
		{"spec type", 24, unsafe.Offsetof(s.Target_type)},
		{"DM_MAX_TYPE_NAME", typeSize, unsafe.Sizeof(s.Target_type)},
		{"message", 8, unsafe.Sizeof(m)},
		{"deps", 8, unsafe.Sizeof(d)},
		{"versions", 16, unsafe.Sizeof(v)},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d here, %d in x/sys/unix", c.what, c.got, c.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for got, want := range map[uint32]uint32{
		reqVersion: unix.DM_VERSION, reqRemoveAll: unix.DM_REMOVE_ALL, reqListDevices: unix.DM_LIST_DEVICES,
		reqDevCreate: unix.DM_DEV_CREATE, reqDevRemove: unix.DM_DEV_REMOVE, reqDevRename: unix.DM_DEV_RENAME,
		reqDevSuspend: unix.DM_DEV_SUSPEND, reqDevStatus: unix.DM_DEV_STATUS, reqDevWait: unix.DM_DEV_WAIT,
		reqTableLoad: unix.DM_TABLE_LOAD, reqTableClear: unix.DM_TABLE_CLEAR, reqTableDeps: unix.DM_TABLE_DEPS,
		reqTableStatus: unix.DM_TABLE_STATUS, reqListVersions: unix.DM_LIST_VERSIONS,
		reqTargetMsg: unix.DM_TARGET_MSG, reqSetGeometry: unix.DM_DEV_SET_GEOMETRY,
		reqArmPoll: unix.DM_DEV_ARM_POLL, reqTargetVersion: unix.DM_GET_TARGET_VERSION,
		uint32(ReadOnly): unix.DM_READONLY_FLAG, flagSuspend: unix.DM_SUSPEND_FLAG,
		uint32(PersistentDev): unix.DM_PERSISTENT_DEV_FLAG, flagStatusTable: unix.DM_STATUS_TABLE_FLAG,
		flagActivePresent: unix.DM_ACTIVE_PRESENT_FLAG, flagInactivePresent: unix.DM_INACTIVE_PRESENT_FLAG,
		flagBufferFull: unix.DM_BUFFER_FULL_FLAG, uint32(SkipLockFS): unix.DM_SKIP_LOCKFS_FLAG,
		uint32(NoFlush): unix.DM_NOFLUSH_FLAG, uint32(QueryInactive): unix.DM_QUERY_INACTIVE_TABLE_FLAG,
		flagUeventGenerated: unix.DM_UEVENT_GENERATED_FLAG, flagUUID: unix.DM_UUID_FLAG,
		uint32(SecureData): unix.DM_SECURE_DATA_FLAG, flagDataOut: unix.DM_DATA_OUT_FLAG,
		uint32(DeferredRemove): unix.DM_DEFERRED_REMOVE, flagInternalSuspend: unix.DM_INTERNAL_SUSPEND_FLAG,
	} {
		if got != want {
			t.Errorf("number %#x here, %#x in x/sys/unix", got, want)
		}
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	for _, h := range []header{
		{},
		{
			version: Version{4, 1, 2}, dataSize: 1, dataStart: 2, targetCount: 3, openCount: -4, flags: 5, eventNr: 6,
			dev: DevNo{Major: 254, Minor: 70000}.Huge(), name: strings.Repeat("n", 127), uuid: strings.Repeat("u", 128),
		},
	} {
		b := make([]byte, headerSize+1)
		for i := range b {
			b[i] = 0xaa
		}
		h.put(b)
		got, err := parseHeader(b)
		if err != nil || got != h || b[headerSize] != 0xaa {
			t.Errorf("got %+v, %v\nwant %+v", got, err, h)
		}
	}
}

func TestParseHeaderUnterminated(t *testing.T) {
	b := make([]byte, headerSize)
	for i := range b {
		b[i] = 'x'
	}
	h, err := parseHeader(b)
	if err != nil || len(h.name) != nameSize || len(h.uuid) != uuidSize {
		t.Errorf("name %d bytes, uuid %d bytes, %v", len(h.name), len(h.uuid), err)
	}
	_, err = parseHeader(b[:headerSize-1])
	wantErr(t, err, ErrBadReply)
}

func TestPayload(t *testing.T) {
	for _, c := range []struct {
		name        string
		start, size uint32
		want        int // bytes, -1 for an error
	}{
		{"nothing to say", 312, 305, 0},
		{"nothing to say, start left alone", 0, 305, 0},
		{"empty", 312, 312, 0},
		{"some", 312, 320, 8},
		{"starts later", 320, 328, 8},
		{"all", 312, 400, 88},
		{"starts in the header", 304, 320, -1},
		{"ends before it starts", 400, 320, -1},
		{"ends beyond the buffer", 312, 401, -1},
		{"huge", 0xffffffff, 0xffffffff, -1},
	} {
		h := header{dataStart: c.start, dataSize: c.size}
		p, err := h.payload(make([]byte, 400))
		switch {
		case c.want < 0:
			if err == nil {
				t.Errorf("%s: no error", c.name)
			}
		case err != nil || len(p) != c.want:
			t.Errorf("%s: %d bytes, %v; want %d", c.name, len(p), err, c.want)
		}
	}
}

func FuzzHeader(f *testing.F) {
	b := make([]byte, headerSize+16)
	answer(b, header{name: "vg-home", uuid: "LVM-x", flags: flagActivePresent}, []byte("payload"))
	f.Add(b)
	f.Add(b[:headerSize-1])
	f.Fuzz(func(_ *testing.T, b []byte) {
		if h, err := parseHeader(b); err == nil {
			_ = h.info()
			_, _ = h.payload(b)
		}
	})
}
