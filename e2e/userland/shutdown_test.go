package userland

import (
	"strings"
	"testing"
)

// TestMachineShutdown installs the package, makes a set whose store is a file on its origin, and shuts the machine down: nothing
// is held up, the filesystem was unmounted as ever, and the next boot finds everything in order.
func TestMachineShutdown(t *testing.T) {
	m := install(t)
	m.run(t, `set -e
pvcreate -qq /dev/vda && vgcreate -qq vg /dev/vda && lvcreate -qq -y -L 512M -n home vg
mkfs.ext4 -q /dev/vg/home
echo '/dev/vg/home /srv ext4 defaults 0 2' >>/etc/fstab
systemctl daemon-reload
mount /srv
echo old >/srv/text
dmsnap create /srv --name nightly --store file:/srv --size 64m
echo new >/srv/text`)
	t.Log(m.run(t, "dmsnap show nightly; losetup --list; systemctl list-units --all 'dmsnap*' --no-pager"))
	m.down(t)

	m.start(t)
	if said := m.run(t, "dmesg"); strings.Contains(said, "recovery complete") {
		t.Errorf("the filesystem had not been unmounted:\n%s", said)
	}
	if text := m.run(t, "cat /srv/text"); text != "new\n" {
		t.Errorf("the file holds %q", text)
	}
	t.Log(m.run(t, "dmsnap list; dmsetup ls; ls -la /srv; journalctl -b -u 'dmsnap*' --no-pager"))
	m.run(t, "if dmsnap show nightly; then dmsnap remove nightly; fi")
	if left := m.run(t, "ls -A /srv"); strings.Contains(left, "dmsnap") {
		t.Errorf("left: %s", left)
	}
	m.down(t)
}

// TestMachineUnits has systemd verify each unit of the package.
func TestMachineUnits(t *testing.T) {
	m := install(t)
	units := strings.Fields(m.run(t, "dpkg -L dmsnap | grep '^/.*/systemd/system/.*[.]'"))
	if len(units) == 0 {
		t.Fatal("the package has no units")
	}
	if said := m.run(t, "systemd-analyze verify --man=no "+strings.Join(units, " ")); said != "" {
		t.Errorf("%v: %s", units, said)
	}
	t.Log(m.run(t, "systemctl list-unit-files 'dmsnap*' --no-pager"))
	m.down(t)
}
