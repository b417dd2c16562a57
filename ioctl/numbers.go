package ioctl

// Request numbers of include/uapi/linux/dm-ioctl.h: _IOWR(0xfd, nr, struct
// dm_ioctl), the same on every architecture dmsnap builds for.
const (
	reqVersion       uint32 = 0xc138fd00
	reqRemoveAll     uint32 = 0xc138fd01
	reqListDevices   uint32 = 0xc138fd02
	reqDevCreate     uint32 = 0xc138fd03
	reqDevRemove     uint32 = 0xc138fd04
	reqDevRename     uint32 = 0xc138fd05
	reqDevSuspend    uint32 = 0xc138fd06
	reqDevStatus     uint32 = 0xc138fd07
	reqDevWait       uint32 = 0xc138fd08
	reqTableLoad     uint32 = 0xc138fd09
	reqTableClear    uint32 = 0xc138fd0a
	reqTableDeps     uint32 = 0xc138fd0b
	reqTableStatus   uint32 = 0xc138fd0c
	reqListVersions  uint32 = 0xc138fd0d
	reqTargetMsg     uint32 = 0xc138fd0e
	reqSetGeometry   uint32 = 0xc138fd0f
	reqArmPoll       uint32 = 0xc138fd10
	reqTargetVersion uint32 = 0xc138fd11
)

// Sizes and limits of include/uapi/linux/dm-ioctl.h.
const (
	headerSize  = 312 // sizeof(struct dm_ioctl)
	plainSize   = 305 // offsetof(struct dm_ioctl, data): all that calls without payload carry
	nameSize    = 128 // DM_NAME_LEN, with the NUL
	uuidSize    = 129 // DM_UUID_LEN, with the NUL
	specSize    = 40  // sizeof(struct dm_target_spec)
	typeSize    = 16  // DM_MAX_TYPE_NAME, with the NUL
	payloadPad  = 8   // every record starts at a multiple of this
	versionSent = 4   // major version of the interface; minor and patch go out as 0
)
