package probe_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/probe"
)

// at is an image of size bytes with text at an offset.
func at(offset int, text string) []byte {
	b := make([]byte, 128<<10)
	copy(b[offset:], text)
	return b
}

// ext is a superblock with feature words.
func ext(compat, incompat uint32) []byte {
	b := at(1024+56, "\x53\xef")
	binary.LittleEndian.PutUint32(b[1024+0x5c:], compat)
	binary.LittleEndian.PutUint32(b[1024+0x60:], incompat)
	return b
}

// dos is a boot sector with entries of a partition table.
func dos(entries ...string) []byte {
	b := at(510, "\x55\xaa")
	for i, e := range entries {
		copy(b[446+16*i:], e)
	}
	return b
}

const (
	volume     = false
	filesystem = true
)

func TestIdentify(t *testing.T) {
	for name, row := range map[string]struct {
		image    []byte
		typ      string
		fs       bool
		recovery bool
	}{
		"nothing":             {make([]byte, 128<<10), "", volume, false},
		"no bytes":            {nil, "", volume, false},
		"luks":                {at(0, "LUKS\xba\xbe\x00\x02"), "crypto_LUKS", volume, false},
		"store":               {at(0, "SnAp"), "DM_snapshot_cow", volume, false},
		"lvm":                 {at(512+24, "LVM2 001"), "LVM2_member", volume, false},
		"lvm, first sector":   {at(24, "LVM2 001"), "LVM2_member", volume, false},
		"raid 1.2":            {at(4096, "\xfc\x4e\x2b\xa9"), "linux_raid_member", volume, false},
		"raid 1.1":            {at(0, "\xfc\x4e\x2b\xa9"), "linux_raid_member", volume, false},
		"bcache":              {at(4096+24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca"), "bcache", volume, false},
		"ext2":                {ext(0x38, 0x2), "ext2", filesystem, false},
		"ext3":                {ext(0x3c, 0x2), "ext3", filesystem, false},
		"ext3 to replay":      {ext(0x3c, 0x6), "ext3", filesystem, true},
		"ext4":                {ext(0x3c, 0x2c2), "ext4", filesystem, false},
		"ext4 to replay":      {ext(0x3c, 0x2c6), "ext4", filesystem, true},
		"ext4 without log":    {ext(0x38, 0x2c2), "ext4", filesystem, false},
		"ext4 by flex_bg":     {ext(0x3c, 0x202), "ext4", filesystem, false},
		"journal of an ext":   {ext(0, 0x8), "jbd", volume, false},
		"ext, first 2 KiB":    {ext(0x3c, 0x2c2)[:2048], "ext4", filesystem, false},
		"ext, cut":            {ext(0x3c, 0x2c2)[:2047], "", volume, false},
		"xfs":                 {at(0, "XFSB"), "xfs", filesystem, false},
		"btrfs":               {at(64<<10+64, "_BHRfS_M"), "btrfs", filesystem, false},
		"btrfs, cut":          {at(64<<10+64, "_BHRfS_M")[:64<<10+71], "", volume, false},
		"f2fs":                {at(1024, "\x10\x20\xf5\xf2"), "f2fs", filesystem, false},
		"jfs":                 {at(32<<10, "JFS1"), "jfs", filesystem, false},
		"nilfs2":              {at(1024+6, "\x34\x34"), "nilfs2", filesystem, false},
		"gfs2":                {at(64<<10, "\x01\x16\x19\x70"), "gfs2", filesystem, false},
		"ntfs":                {at(3, "NTFS    "), "ntfs", filesystem, false},
		"exfat":               {at(3, "EXFAT   "), "exfat", filesystem, false},
		"fat32":               {at(82, "FAT32   "), "vfat", filesystem, false},
		"fat16":               {at(54, "FAT16   "), "vfat", filesystem, false},
		"fat12":               {at(54, "FAT12   "), "vfat", filesystem, false},
		"squashfs":            {at(0, "hsqs"), "squashfs", filesystem, false},
		"erofs":               {at(1024, "\xe2\xe1\xf5\xe0"), "erofs", filesystem, false},
		"iso9660":             {at(32<<10+1, "CD001"), "iso9660", filesystem, false},
		"swap":                {at(4096-10, "SWAPSPACE2"), "swap", volume, false},
		"gpt":                 {at(512, "EFI PART"), "gpt", volume, false},
		"gpt, large sectors":  {at(4096, "EFI PART"), "gpt", volume, false},
		"dos":                 {dos("\x80\x00\x00\x00\x83"), "dos", volume, false},
		"dos, last entry":     {dos("", "", "", "\x00\x00\x00\x00\x8e"), "dos", volume, false},
		"bcachefs":            {at(4096+24, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"), "bcachefs", filesystem, false},
		"bluestore":           {at(0, "bluestore block device\n"), "ceph_bluestore", volume, false},
		"stratis":             {at(512+4, "!Stra0tis\x86\xff\x02^\x41rh"), "stratis", volume, false},
		"stratis, second":     {at(9*512+4, "!Stra0tis\x86\xff\x02^\x41rh"), "stratis", volume, false},
		"ocfs2":               {at(8192, "OCFSV2"), "ocfs2", filesystem, false},
		"ocfs2, 512":          {at(1024, "OCFSV2"), "ocfs2", filesystem, false},
		"reiserfs":            {at(64<<10+0x34, "ReIsEr2Fs"), "reiserfs", filesystem, false},
		"reiserfs 3.5":        {at(8<<10+0x34, "ReIsErFs"), "reiserfs", filesystem, false},
		"hfsplus":             {at(1024, "H+\x00\x04"), "hfsplus", filesystem, false},
		"apfs":                {at(32, "NXSB"), "apfs", filesystem, false},
		"lvm, fourth sector":  {at(3*512+24, "LVM2 001"), "LVM2_member", volume, false},
		"boot sector":         {dos(), "", volume, false},
		"code for a table":    {dos("\x80\x00\x00\x00\x83", "\x41"), "", volume, false},
		"dos without mark":    {at(446, "\x80\x00\x00\x00\x83"), "", volume, false},
		"fat in a boot image": {append(append(append([]byte{}, at(82, "FAT32   ")[:510]...), "\x55\xaa"...), make([]byte, 4096)...), "vfat", filesystem, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := probe.Identify(bytes.NewReader(row.image))
			want := probe.Found{Type: row.typ, Filesystem: row.fs, NeedsRecovery: row.recovery}
			if err != nil || got != want {
				t.Errorf("%+v, %v; want %+v", got, err, want)
			}
		})
	}
}

// TestOneByteOff: a magic that is not quite there is none.
func TestOneByteOff(t *testing.T) {
	for _, m := range []struct {
		offset int
		text   string
	}{
		{0, "LUKS\xba\xbe"},
		{0, "SnAp"},
		{0, "XFSB"},
		{64<<10 + 64, "_BHRfS_M"},
		{4096 - 10, "SWAPSPACE2"},
		{536, "LVM2 001"},
	} {
		for i := range m.text {
			b := at(m.offset, m.text)
			b[m.offset+i] ^= 1
			if got, err := probe.Identify(bytes.NewReader(b)); err != nil || got.Type != "" {
				t.Errorf("%q with byte %d changed is %q (%v)", m.text, i, got.Type, err)
			}
		}
		if got, err := probe.Identify(bytes.NewReader(at(m.offset+2048, m.text))); err != nil || got.Type == "LVM2_member" || got.Filesystem {
			t.Errorf("%q 2 KiB later is %+v (%v)", m.text, got, err)
		}
	}
}

// TestOuterLayerFirst: what lies inside another layer is not what the device
// carries.
func TestOuterLayerFirst(t *testing.T) {
	for typ, outer := range map[string]struct {
		offset int
		text   string
	}{
		"linux_raid_member": {4096, "\xfc\x4e\x2b\xa9"},
		"crypto_LUKS":       {0, "LUKS\xba\xbe"},
		"LVM2_member":       {536, "LVM2 001"},
	} {
		for inner, b := range map[string][]byte{
			"ext4":  ext(0x3c, 0x2c2),
			"btrfs": at(64<<10+64, "_BHRfS_M"),
		} {
			copy(b[outer.offset:], outer.text)
			if got, err := probe.Identify(bytes.NewReader(b)); err != nil || got.Type != typ || got.Filesystem {
				t.Errorf("%s with the superblock of an old %s is %+v (%v)", typ, inner, got, err)
			}
		}
	}
}

type broken struct{ err error }

func (b broken) ReadAt([]byte, int64) (int, error) { return 0, b.err }

func TestIdentifyFails(t *testing.T) {
	bad := errors.New("bad sector")
	if got, err := probe.Identify(broken{bad}); !errors.Is(err, bad) || got != (probe.Found{}) {
		t.Error(got, err)
	}
	if got, err := probe.Identify(broken{fmt.Errorf("at the end: %w", io.EOF)}); err != nil || got != (probe.Found{}) {
		t.Error(got, err)
	}
}

// TestRealFilesystems lets the tools of the machine make what is to be found.
func TestRealFilesystems(t *testing.T) {
	for name, row := range map[string]struct {
		tool string
		args []string
		size int64
		typ  string
		fs   bool
	}{
		"ext2":    {"mkfs.ext4", []string{"-q", "-F", "-t", "ext2"}, 16 << 20, "ext2", true},
		"ext3":    {"mkfs.ext4", []string{"-q", "-F", "-t", "ext3"}, 16 << 20, "ext3", true},
		"ext4":    {"mkfs.ext4", []string{"-q", "-F"}, 16 << 20, "ext4", true},
		"ext4 1k": {"mkfs.ext4", []string{"-q", "-F", "-b", "1024", "-O", "^has_journal"}, 16 << 20, "ext4", true},
		"xfs":     {"mkfs.xfs", []string{"-q", "-f"}, 320 << 20, "xfs", true},
		"btrfs":   {"mkfs.btrfs", []string{"-q", "-f"}, 128 << 20, "btrfs", true},
		"fat12":   {"mkfs.vfat", []string{"-F", "12"}, 4 << 20, "vfat", true},
		"fat16":   {"mkfs.vfat", []string{"-F", "16"}, 32 << 20, "vfat", true},
		"fat32":   {"mkfs.vfat", []string{"-F", "32"}, 64 << 20, "vfat", true},
		"swap":    {"mkswap", nil, 4 << 20, "swap", false},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "image")
			format(t, file, row.size, row.tool, row.args...)
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got, err := probe.Identify(f)
			if want := (probe.Found{Type: row.typ, Filesystem: row.fs}); err != nil || got != want {
				t.Errorf("%+v, %v; want %+v", got, err, want)
			}
		})
	}
}

// format makes a sparse file and runs a tool on it.
func format(t *testing.T, file string, size int64, tool string, args ...string) {
	t.Helper()
	found := slices.IndexFunc([]string{tool, "/usr/sbin/" + tool, "/sbin/" + tool}, func(p string) bool {
		path, err := exec.LookPath(p)
		if err == nil {
			tool = path
		}
		return err == nil
	})
	if found < 0 {
		t.Skip("host only: no mkfs")
	}
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, size)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, append(args, file)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", tool, err, out)
	}
}

func FuzzIdentify(f *testing.F) {
	for _, b := range [][]byte{nil, ext(0x3c, 0x2c6)[:2048], dos("\x80\x00\x00\x00\x83")[:512], at(0, "XFSB")[:4], at(536, "LVM2 001")[:600]} {
		f.Add(b, uint16(0))
	}
	f.Add([]byte("_BHRfS_M"), uint16(64))
	f.Fuzz(func(t *testing.T, b []byte, kib uint16) {
		image := append(make([]byte, int(kib%70)<<10), b...)
		got, err := probe.Identify(bytes.NewReader(image))
		if err != nil {
			t.Fatal(err)
		}
		if got.Type == "" && got != (probe.Found{}) || got.NeedsRecovery && !got.Filesystem {
			t.Errorf("%+v", got)
		}
		// What follows the head does not count.
		again, err := probe.Identify(bytes.NewReader(append(image, make([]byte, 128<<10)...)))
		if got.Type != "" && (err != nil || again != got) {
			t.Errorf("%+v, on a larger device %+v (%v)", got, again, err)
		}
	})
}
