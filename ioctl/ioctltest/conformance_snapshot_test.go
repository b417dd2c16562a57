package ioctltest

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

func snapshotCases() []conformanceCase {
	return []conformanceCase{
		{"snapshot arguments", confSnapshotArgs},
		{"snapshot status", confSnapshotStatus},
		{"point in time", confPointInTime},
		{"origin not resumed", confRuleB},
		{"full store", confFull},
		{"overflow", confOverflow},
		{"old store", confOldStore},
		{"foreign store", confForeignStore},
		{"store too small", confSmallStore},
	}
}

// Sizes of the stack the cases work on, in sectors.
const (
	realSize  = 8192
	storeSize = 2048
	chunkSize = 16
)

// stack makes real and store devices and a front over the real one.
func (b *bench) stack(store uint64) (low, cow ioctl.DevNo) {
	b.Helper()
	low = b.live("real", spec(realSize, "linear", b.a, 0)).Dev
	cow = b.live("cow", spec(store, "linear", b.b, 0)).Dev
	b.live("front", spec(realSize, "snapshot-origin", low))
	return low, cow
}

// cut makes the image, in the one right order.
func (b *bench) cut(low, cow ioctl.DevNo, kind string, chunk int) ioctl.DevNo {
	b.Helper()
	b.create("image")
	b.ok(b.load("image", spec(realSize, "snapshot", low, cow, kind, chunk)))
	b.ok(b.suspend("front"))
	b.ok(b.resume("image"))
	b.ok(b.resume("front"))
	return b.info("image").Dev
}

func confSnapshotArgs(b *bench) {
	low, cow := b.stack(storeSize)
	for _, c := range []struct {
		want unix.Errno
		spec ioctl.Spec
	}{
		{unix.EINVAL, spec(realSize, "snapshot", low, cow, "P")},
		{unix.EINVAL, spec(realSize, "snapshot", low, cow, "P", 12)},
		{unix.EINVAL, spec(realSize, "snapshot", low, cow, "P", "x")},
		{unix.EINVAL, spec(realSize, "snapshot", low, cow, "P", 1<<22)},
		{unix.EINVAL, spec(realSize, "snapshot", low, cow, "X", 16)},
		{unix.EINVAL, spec(realSize, "snapshot", low, cow, "PX", 16)},
		{unix.EINVAL, spec(realSize, "snapshot", low, low, "P", 16)},
		{unix.EINVAL, spec(realSize, "snapshot", low, cow, "N", 0)},
		{unix.EINVAL, spec(realSize, "snapshot", low, cow, "P", 16, 1, "nonsense")},
		{unix.EINVAL, spec(realSize, "snapshot", low, cow, "P", 16, 1, "discard_passdown_origin")},
		{unix.EINVAL, spec(realSize+8, "snapshot", low, cow, "P", 16)},
		{unix.ENXIO, spec(realSize, "snapshot", "254:4000", cow, "P", 16)},
		{unix.ENXIO, spec(realSize, "snapshot", low, "254:4000", "P", 16)},
		{unix.EINVAL, spec(realSize, "snapshot-origin")},
		{unix.EINVAL, spec(realSize, "snapshot-origin", low, 0)},
		{0, spec(realSize-8, "snapshot", low, cow, "N", 1)},
		{0, spec(realSize, "snapshot", low, cow, "P", 0)},
	} {
		if b.want(c.want, b.tryLoad("image", c.spec)); b.Failed() {
			b.Fatalf("case %q", c.spec.Params)
		}
	}
}

func confSnapshotStatus(b *bench) {
	low, cow := b.stack(storeSize)
	b.cut(low, cow, "P", chunkSize)
	same(b, "fresh P", b.status("image"), "32/2048 32")
	same(b, "line", b.line("image", 0), fmt.Sprintf("snapshot %v %v P 16", low, cow))
	same(b, "origin's status", b.status("front"), "")
	same(b, "origin's line", b.line("front", 0), fmt.Sprintf("snapshot-origin %v", low))
	front := b.info("front").Dev
	b.ok(b.put(front, 0, pageSize, 1))
	same(b, "one chunk", b.status("image"), "48/2048 32")
	b.ok(b.put(front, 0, 2*pageSize, 2))
	same(b, "the same chunk", b.status("image"), "48/2048 32")
	b.gone("image")
	b.wipe(b.env.B)
	b.cut(low, cow, "N", chunkSize)
	same(b, "fresh N", b.status("image"), "0/2048 0")
	b.ok(b.put(front, 0, pageSize, 3))
	same(b, "one chunk", b.status("image"), "16/2048 0")
	same(b, "line", b.line("image", 0), fmt.Sprintf("snapshot %v %v N 16", low, cow))
	b.gone("image")
	b.wipe(b.env.B)
	b.cut(low, cow, "PO", 0)
	same(b, "line", b.line("image", 0), fmt.Sprintf("snapshot %v %v PO 32", low, cow))
}

func confPointInTime(b *bench) {
	low, cow := b.stack(storeSize)
	front := b.info("front").Dev
	b.ok(b.put(front, 0, 65536, 1))
	image := b.cut(low, cow, "P", chunkSize)
	b.ok(b.put(front, 0, 65536, 2))
	same(b, "image", bytes.Equal(b.get(image, 0, 8192, 32768, 61440, 65536), []byte{1, 1, 1, 1, 0}), true)
	same(b, "front", bytes.Equal(b.get(front, 0, 61440), []byte{2, 2}), true)
	same(b, "eight chunks", b.status("image"), "160/2048 32")
	b.ok(b.put(image, 8192, pageSize, 9))
	same(b, "written image", bytes.Equal(b.get(image, 0, 8192, 12288), []byte{1, 9, 1}), true)
	same(b, "front", bytes.Equal(b.get(front, 8192), []byte{2}), true)
	b.gone("image")
	b.create("image")
	b.ok(b.load("image", spec(realSize, "snapshot", low, cow, "P", chunkSize)))
	b.ok(b.resume("image"))
	same(b, "loaded again", bytes.Equal(b.get(image, 0, 8192, 61440), []byte{1, 9, 1}), true)
	same(b, "status", b.status("image"), "160/2048 32")
}

// confRuleB: without a resume of the origin after the snapshot's, only the
// first chunk of a large write is preserved.
func confRuleB(b *bench) {
	low, cow := b.stack(storeSize)
	front := b.info("front").Dev
	b.ok(b.put(front, 0, 65536, 1))
	image := b.live("image", spec(realSize, "snapshot", low, cow, "P", chunkSize)).Dev
	b.ok(b.put(front, 0, 65536, 2))
	same(b, "image", bytes.Equal(b.get(image, 0, 8192, 61440), []byte{1, 2, 2}), true)
}

func confFull(b *bench) {
	for _, kind := range []string{"P", "PO", "N"} {
		low, cow := b.stack(128)
		front := b.info("front").Dev
		b.cut(low, cow, kind, chunkSize)
		before := b.info("image").EventNr
		b.ok(b.put(front, 0, 1<<17, 7))
		same(b, kind, b.status("image"), "Invalid")
		same(b, "event", b.info("image").EventNr, before+1)
		same(b, "front", bytes.Equal(b.get(front, 0, 1<<17-pageSize), []byte{7, 7}), true)
		b.want(unix.EIO, b.put(b.info("image").Dev, 0, pageSize, 1))
		if kind == "P" {
			b.gone("image")
			b.create("image")
			b.ok(b.load("image", spec(realSize, "snapshot", low, cow, "P", chunkSize)))
			b.ok(b.resume("image"))
			same(b, "loaded again", b.status("image"), "Invalid")
		}
		for _, id := range []string{"image", "front", "cow", "real"} {
			b.gone(id)
		}
		b.wipe(b.env.B)
	}
}

func confOverflow(b *bench) {
	low, cow := b.stack(128)
	image := b.cut(low, cow, "PO", chunkSize)
	before := b.info("image").EventNr
	b.want(unix.EIO, b.put(image, 0, 1<<17, 5))
	same(b, "status", b.status("image"), "Overflow")
	same(b, "event", b.info("image").EventNr, before)
	same(b, "reads", bytes.Equal(b.get(image, 1<<18), []byte{0}), true)
	b.want(unix.EIO, b.put(image, 0, pageSize, 6))
	b.gone("image")
	b.create("image")
	b.ok(b.load("image", spec(realSize, "snapshot", low, cow, "PO", chunkSize)))
	b.ok(b.resume("image"))
	same(b, "loaded again", b.status("image"), "128/128 32")
}

// confOldStore: a header that is there already brings its exceptions and its
// chunk size along.
func confOldStore(b *bench) {
	low, cow := b.stack(storeSize)
	image := b.cut(low, cow, "P", chunkSize)
	b.ok(b.put(image, 0, pageSize, 8))
	b.gone("image")
	image = b.cut(low, cow, "P", 64)
	same(b, "line", b.line("image", 0), fmt.Sprintf("snapshot %v %v P 16", low, cow))
	same(b, "old data", bytes.Equal(b.get(image, 0), []byte{8}), true)
	same(b, "status", b.status("image"), "48/2048 32")
}

func confForeignStore(b *bench) {
	low, cow := b.stack(storeSize)
	b.ok(b.put(cow, 0, pageSize, 0xee))
	b.want(unix.ENXIO, b.tryLoad("image", spec(realSize, "snapshot", low, cow, "P", chunkSize)))
	b.ok(b.tryLoad("image", spec(realSize, "snapshot", low, cow, "N", chunkSize)))
}

func confSmallStore(b *bench) {
	low, cow := b.stack(32)
	front := b.info("front").Dev
	b.cut(low, cow, "P", chunkSize)
	same(b, "two chunks", b.status("image"), "32/32 32")
	b.ok(b.put(front, 0, pageSize, 1))
	same(b, "first write", b.status("image"), "Invalid")
}
