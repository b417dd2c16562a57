package probe

import (
	"slices"
	"strings"
)

// FromUdev is what udev's database says is on a device: libblkid, which udev asks,
// knows more than we do. Of what we would have seen ourselves nothing is believed,
// since udev need not have looked again after it went.
func FromUdev(entry string) string {
	for line := range strings.Lines(entry) {
		for _, key := range []string{"E:ID_FS_TYPE=", "E:ID_PART_TABLE_TYPE="} {
			if typ, found := strings.CutPrefix(strings.TrimSpace(line), key); found && typ != "" && !known(typ) {
				return typ
			}
		}
	}
	return ""
}

func known(typ string) bool {
	is := func(m magic) bool { return m.name == typ }
	return slices.Contains([]string{"ext2", "ext3", "ext4", "jbd", "dos", "zfs_member"}, typ) ||
		slices.ContainsFunc(outer, is) || slices.ContainsFunc(magics, is) ||
		slices.ContainsFunc(endings, func(e ending) bool { return e.name == typ })
}
