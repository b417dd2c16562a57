package ioctltest

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

func handoverCases() []conformanceCase {
	return []conformanceCase{
		{"handover to a second device", confHandover},
		{"handover refused", confHandoverRefused},
		{"reload on the same device", confReload},
		{"merge", confMerge},
		{"merge while the snapshot runs", confMergeRefused},
		{"merge of a transient snapshot", confMergeTransient},
		{"source destroyed", confSourceGone},
	}
}

func confHandover(b *bench) {
	low, cow := b.stack(storeSize)
	image := b.cut(low, cow, "P", chunkSize)
	b.ok(b.put(image, 0, pageSize, 4))
	b.create("second")
	b.ok(b.load("second", spec(realSize, "snapshot", low, cow, "P", chunkSize)))
	same(b, "chunk until then", b.line("second", ioctl.QueryInactive), fmt.Sprintf("snapshot %v %v P 0", low, cow))
	b.want(unix.EINVAL, b.tryLoad("third", spec(realSize, "snapshot", low, cow, "P", chunkSize)))
	b.ok(b.suspend("image"))
	b.ok(b.resume("second"))
	same(b, "source", b.status("image"), "Invalid")
	same(b, "dest", b.status("second"), "48/2048 32")
	same(b, "data", bytes.Equal(b.get(b.info("second").Dev, 0), []byte{4}), true)
}

func confHandoverRefused(b *bench) {
	low, cow := b.stack(storeSize)
	b.cut(low, cow, "P", chunkSize)
	b.create("second")
	b.ok(b.load("second", spec(realSize, "snapshot", low, cow, "P", chunkSize)))
	b.want(unix.EINVAL, b.resume("second"))
	info := b.info("second")
	same(b, "suspended", info.Suspended, true)
	same(b, "live", info.Live, true)
	same(b, "inactive", info.Inactive, false)
	b.ok(b.suspend("image"))
	b.want(unix.EINVAL, b.resume("image"))
	b.ok(b.resume("second"))
	same(b, "dest", b.status("second"), "32/2048 32")
}

// confReload: a new table on the same device takes the exceptions over.
func confReload(b *bench) {
	low, cow := b.stack(storeSize)
	image := b.cut(low, cow, "P", chunkSize)
	b.ok(b.put(image, 0, pageSize, 4))
	b.ok(b.load("image", spec(realSize, "snapshot", low, cow, "PO", chunkSize)))
	b.want(unix.EINVAL, b.load("image", spec(realSize, "snapshot", low, cow, "PO", chunkSize)))
	b.ok(b.resume("image"))
	same(b, "line", b.line("image", 0), fmt.Sprintf("snapshot %v %v PO 16", low, cow))
	same(b, "status", b.status("image"), "48/2048 32")
	same(b, "data", bytes.Equal(b.get(image, 0), []byte{4}), true)
}

func confMerge(b *bench) {
	low, cow := b.stack(storeSize)
	front := b.info("front").Dev
	b.ok(b.put(front, 0, 65536, 1))
	b.cut(low, cow, "P", chunkSize)
	b.ok(b.put(front, 0, 65536, 2))
	b.ok(b.suspend("image"))
	b.ok(b.load("front", spec(realSize, "snapshot-merge", low, cow, "P", chunkSize)))
	b.ok(b.resume("front"))
	b.gone("image")
	b.merged("front", "32/2048 32")
	b.ok(b.load("front", spec(realSize, "snapshot-origin", low)))
	b.ok(b.resume("front"))
	same(b, "front", bytes.Equal(b.get(front, 0, 8192, 61440, 65536), []byte{1, 1, 1, 0}), true)
}

// merged waits for the status of a finished merge.
func (b *bench) merged(id, want string) {
	b.Helper()
	got := b.status(id)
	for end := time.Now().Add(10 * time.Second); got != want && time.Now().Before(end); got = b.status(id) {
		time.Sleep(10 * time.Millisecond)
	}
	same(b, "after the merge", got, want)
}

func confMergeRefused(b *bench) {
	low, cow := b.stack(storeSize)
	b.cut(low, cow, "P", chunkSize)
	b.ok(b.load("front", spec(realSize, "snapshot-merge", low, cow, "P", chunkSize)))
	b.want(unix.EINVAL, b.resume("front"))
	info := b.info("front")
	same(b, "suspended", info.Suspended, true)
	same(b, "live", b.line("front", 0)[:14], "snapshot-merge")
	b.ok(b.suspend("image"))
	b.ok(b.resume("front"))
	b.gone("image")
	b.merged("front", "32/2048 32")
}

func confMergeTransient(b *bench) {
	low, cow := b.stack(storeSize)
	b.cut(low, cow, "N", chunkSize)
	b.want(unix.EINVAL, b.load("front", spec(realSize, "snapshot-merge", low, cow, "N", chunkSize)))
}

// confSourceGone: the one that waited for the exceptions is invalid in memory
// only; the store still has them.
func confSourceGone(b *bench) {
	low, cow := b.stack(storeSize)
	image := b.cut(low, cow, "P", chunkSize)
	b.ok(b.put(image, 0, pageSize, 4))
	b.create("second")
	b.ok(b.load("second", spec(realSize, "snapshot", low, cow, "P", chunkSize)))
	b.gone("image")
	b.ok(b.resume("second"))
	same(b, "dest", b.status("second"), "Invalid")
	b.gone("second")
	b.create("third")
	b.ok(b.load("third", spec(realSize, "snapshot", low, cow, "P", chunkSize)))
	b.ok(b.resume("third"))
	same(b, "loaded again", b.status("third"), "48/2048 32")
}
