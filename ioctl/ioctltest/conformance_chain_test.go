package ioctltest

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

func chainCases() []conformanceCase {
	return []conformanceCase{
		{"chained images", confChain},
		{"chained while copying", confChainCopying},
		{"chained transient", confChainTransient},
		{"chained on a lost image", confChainLost},
		{"flattened images", confFlatten},
	}
}

// besideSize is that of each of several stores, in sectors.
const besideSize = 640

// cutBeside makes image n of a front, with a store of its own on the second disk,
// in the one right order.
func (b *bench) cutBeside(n int, low ioctl.DevNo, kind string, chunk int) (image, cow ioctl.DevNo) {
	b.Helper()
	id := fmt.Sprint(n)
	cow = b.live("cow"+id, spec(besideSize, "linear", b.b, (n-1)*besideSize)).Dev
	b.ok(b.put(cow, 0, pageSize, 0))
	b.create("image" + id)
	b.ok(b.c.Load(conf("image"+id), ioctl.ReadOnly, []ioctl.Spec{spec(realSize, "snapshot", low, cow, kind, chunk)}))
	b.ok(b.suspend("front"))
	b.ok(b.resume("image" + id))
	b.ok(b.resume("front"))
	return b.info("image" + id).Dev, cow
}

// chain has a live image read through another one.
func (b *bench) chain(id string, newer, cow ioctl.DevNo, kind string, chunk int) {
	b.Helper()
	b.ok(b.c.Load(conf(id), ioctl.ReadOnly, []ioctl.Spec{spec(realSize, "snapshot", newer, cow, kind, chunk)}))
	_, err := b.c.Resume(conf(id), ioctl.SkipLockFS, ioctl.Event{})
	b.ok(err)
}

// confChain: an older persistent image, loaded again over the newer image with its
// own store, keeps its contents, gets no copies any more, and needs the newer one.
func confChain(b *bench) {
	low, front := b.chainStack()
	b.ok(b.put(front, 0, 1<<18, 1))
	one, cow1 := b.cutBeside(1, low, "PO", chunkSize)
	b.ok(b.put(front, 0, 65536, 2))
	two, cow2 := b.cutBeside(2, low, "PO", 4*chunkSize) // chunks of another size
	b.chain("image1", two, cow1, "PO", chunkSize)
	same(b, "line", b.line("image1", 0), fmt.Sprintf("snapshot %v %v PO 16", two, cow1))
	b.opens("opens by the image above", "image2", 1)
	_, err := b.k.Open(dmNode(two), unix.O_RDONLY|unix.O_EXCL, 0) // as a mount does
	b.want(unix.EBUSY, err)
	shown := b.live("shown", spec(realSize, "linear", two, 0)).Dev
	f, err := b.k.Open(dmNode(shown), unix.O_RDONLY|unix.O_EXCL, 0)
	b.ok(err)
	b.ok(f.Close())
	b.gone("shown")
	used := b.status("image1")
	b.ok(b.put(front, 0, 131072, 3))
	same(b, "the older store", b.status("image1"), used)
	three, _ := b.cutBeside(3, low, "PO", chunkSize/2)
	b.chain("image2", three, cow2, "PO", 4*chunkSize)
	used = b.status("image1") + b.status("image2")
	b.ok(b.put(front, 0, 1<<18, 4))
	same(b, "the older stores", b.status("image1")+b.status("image2"), used)
	check := func(when string) {
		offs := []int64{0, 61440, 65536, 126976, 131072, 1<<18 - pageSize, 1 << 18}
		same(b, "first image "+when, bytes.Equal(b.get(one, offs...), []byte{1, 1, 1, 1, 1, 1, 0}), true)
		same(b, "second image "+when, bytes.Equal(b.get(two, offs...), []byte{2, 2, 1, 1, 1, 1, 0}), true)
		same(b, "third image "+when, bytes.Equal(b.get(three, offs...), []byte{3, 3, 3, 3, 1, 1, 0}), true)
	}
	check("in a chain")
	_, err = b.c.Rename(confPrefix+"image2", confPrefix+"layer", ioctl.Event{})
	b.ok(err)
	b.want(unix.EBUSY, b.remove("layer"))
	check("with a layer renamed")
	b.gone("image1")
	b.gone("layer")
	same(b, "third image alone", bytes.Equal(b.get(three, 0, 131072), []byte{3, 1}), true)
}

func (b *bench) chainStack() (low, front ioctl.DevNo) {
	b.Helper()
	low = b.live("real", spec(realSize, "linear", b.a, 0)).Dev
	return low, b.live("front", spec(realSize, "snapshot-origin", low)).Dev
}

// confChainCopying: what the older image copies between its second load and the
// swap is not in the table it has then, but in the newer image.
func confChainCopying(b *bench) {
	low, front := b.chainStack()
	b.ok(b.put(front, 0, 131072, 1))
	one, cow1 := b.cutBeside(1, low, "PO", chunkSize)
	two, _ := b.cutBeside(2, low, "PO", chunkSize)
	b.ok(b.put(front, 0, 32768, 2))
	b.ok(b.c.Load(conf("image1"), ioctl.ReadOnly, []ioctl.Spec{spec(realSize, "snapshot", two, cow1, "PO", chunkSize)}))
	b.ok(b.put(front, 32768, 32768, 2))
	_, specs, err := b.c.TargetStatus(conf("image1"), ioctl.QueryInactive)
	b.ok(err)
	same(b, "what was loaded", specs[0].Params, "96/640 32")
	same(b, "what runs", b.status("image1"), "160/640 32")
	b.ok(b.resume("image1"))
	same(b, "what runs then", b.status("image1"), "96/640 32")
	b.ok(b.put(front, 65536, 32768, 2))
	for _, image := range []ioctl.DevNo{one, two} {
		same(b, "image", bytes.Equal(b.get(image, 0, 32768, 65536, 98304), []byte{1, 1, 1, 1}), true)
	}
}

// confChainTransient: exceptions that are in memory only are lost by a second load.
func confChainTransient(b *bench) {
	low, front := b.chainStack()
	b.ok(b.put(front, 0, pageSize, 1))
	one, cow1 := b.cutBeside(1, low, "N", chunkSize)
	b.ok(b.put(front, 0, pageSize, 2))
	two, _ := b.cutBeside(2, low, "N", chunkSize)
	b.chain("image1", two, cow1, "N", chunkSize)
	same(b, "first image", bytes.Equal(b.get(one, 0), []byte{2}), true)
}

// confChainLost: what the newer image cannot give, the older one cannot either,
// but for its own chunks; its status does not tell.
func confChainLost(b *bench) {
	low, front := b.chainStack()
	b.ok(b.put(front, 0, pageSize, 1))
	one, cow1 := b.cutBeside(1, low, "PO", chunkSize)
	b.ok(b.put(front, 0, pageSize, 2))
	two, _ := b.cutBeside(2, low, "PO", chunkSize)
	b.chain("image1", two, cow1, "PO", chunkSize)
	b.ok(b.put(front, 0, besideSize*sectorSize, 3))
	same(b, "newer", b.status("image2"), "Invalid")
	same(b, "older", b.status("image1"), "48/640 32")
	same(b, "own chunk", bytes.Equal(b.get(one, 0), []byte{1}), true)
	b.want(unix.EIO, b.tryGet(one, 1<<19))
}

func (b *bench) tryGet(no ioctl.DevNo, off int64) error {
	f := b.open(dmNode(no), unix.O_RDONLY|unix.O_DIRECT)
	_, err := f.ReadAt(b.buffer(pageSize, 0), off)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// confFlatten: an older image that is loaded again for writing over the same newer
// one goes on with what the kernel knew, and not with what lies beyond on its store.
// A page written to a chunk brings the whole chunk into the store, record and all,
// so that a table that leaves the newer image out reads it there.
func confFlatten(b *bench) {
	low, front := b.chainStack()
	b.ok(b.put(front, 0, 1<<18, 1))
	one, cow1 := b.cutBeside(1, low, "PO", chunkSize)
	two, cow2 := b.cutBeside(2, low, "PO", 2*chunkSize)
	b.ok(b.put(front, 0, 16384, 2))
	b.ok(b.c.Load(conf("image1"), ioctl.ReadOnly, []ioctl.Spec{spec(realSize, "snapshot", two, cow1, "PO", chunkSize)}))
	b.ok(b.put(front, 32768, 16384, 2)) // copied into both; the table that was loaded does not know
	b.ok(b.resume("image1"))
	b.ok(b.put(front, 65536, 65536, 2))
	three, _ := b.cutBeside(3, low, "PO", chunkSize)
	b.chain("image2", three, cow2, "PO", 2*chunkSize)
	b.ok(b.put(front, 0, 1<<18, 3))
	known := b.status("image1")
	b.ok(b.c.Load(conf("image1"), 0, []ioctl.Spec{spec(realSize, "snapshot", two, cow1, "PO", chunkSize)}))
	b.ok(b.resume("image1"))
	same(b, "what is known after the second load", b.status("image1"), known)
	for _, off := range []int64{32768, 65536, 73728, 81920, 90112, 98304, 106496, 114688, 122880, 40960} {
		b.ok(b.put(one, off, pageSize, 1))
	}
	b.chain("image1", three, cow1, "PO", chunkSize)
	offs := []int64{0, 12288, 16384, 28672, 32768, 45056, 61440, 65536, 69632, 126976}
	same(b, "first image", bytes.Equal(b.get(one, offs...), bytes.Repeat([]byte{1}, len(offs))), true)
	b.gone("image2")
	same(b, "first image, the second one gone", bytes.Equal(b.get(one, offs...), bytes.Repeat([]byte{1}, len(offs))), true)
	same(b, "third image", bytes.Equal(b.get(three, 0, 32768, 65536, 131072), []byte{2, 2, 2, 1}), true)
}
