package scenarios

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// blockSize is the unit in which images are compared.
const blockSize = 4096

// blockSums are the checksums of all blocks of a device, read past the page cache.
func blockSums(t *testing.T, dev string) (sums []uint32) {
	t.Helper()
	f, err := os.OpenFile(dev, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := lab.Aligned(1 << 20)
	defer lab.Free(buf)
	for {
		n, err := f.Read(buf)
		for block := range slices.Chunk(buf[:n], blockSize) {
			sums = append(sums, crc32.ChecksumIEEE(block))
		}
		if errors.Is(err, io.EOF) {
			return sums
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// unchanged compares an image with what it was, but for the store's blocks.
func unchanged(t *testing.T, image string, before []uint32, mask []extent) {
	t.Helper()
	after := blockSums(t, image)
	if len(after) != len(before) {
		t.Fatalf("the image has %d blocks, had %d", len(after), len(before))
	}
	for i := range after {
		if after[i] != before[i] && !covered(mask, int64(i)*blockSize) {
			t.Fatalf("the image changed at block %d, which is not the store's: %v", i, mask)
		}
	}
}

// extent is a range of a device in bytes.
type extent struct{ start, length int64 }

// storeBlocks are the ranges of a base that a store is made of, as dmsetup tells; none if it is made of something else.
func storeBlocks(t *testing.T, store, base string) (mask []extent) {
	t.Helper()
	on := strings.TrimSpace(lab.Run(t, "dmsetup", "info", "-c", "--noheadings", "-o", "major,minor", base))
	for l := range strings.Lines(lab.Run(t, "dmsetup", "table", store)) {
		var start, length, offset int64
		var dev string
		if _, err := fmt.Sscanf(l, "%d %d linear %s %d", &start, &length, &dev, &offset); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		if dev == on {
			mask = append(mask, extent{offset * 512, length * 512})
		}
	}
	return mask
}

// covered tells whether any part of a block is masked.
func covered(mask []extent, at int64) bool {
	for _, e := range mask {
		if at < e.start+e.length && e.start < at+blockSize {
			return true
		}
	}
	return false
}
