package userland

import (
	"strings"
	"testing"
)

// TestMachineGuardSurvives ends the whole control group of a create inside its window, as systemd does when it ends a unit: the
// guard is a service of its own, and writers run again.
func TestMachineGuardSurvives(t *testing.T) {
	m := install(t)
	// A write takes so long that a window, which freezes the filesystem and waits for those under way, is met.
	m.run(t, `set -e
modprobe dm-delay
dmsetup create slow --table "0 $((256 * 2048)) delay /dev/vda 0 0 /dev/vda 0 700"
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 /dev/mapper/slow
mount /dev/mapper/slow /srv
systemctl enable --now dmsnap-guard.socket
systemd-run --unit=writer sh -c 'while :; do date +%s.%N >>/srv/log; sync -f /srv; done'`)
	said := m.run(t, `group=/sys/fs/cgroup/system.slice/cutter.service/cgroup.kill
systemd-run --unit=cutter dmsnap create /srv --name nightly --store /dev/vdb --freeze-timeout 60s
fifreeze=0xc0045877
while ! cat /proc/$(systemctl show --property MainPID --value cutter)/task/*/syscall 2>/dev/null | grep -q $fifreeze; do
	case $(systemctl is-active cutter) in inactive|failed) echo "no window was met"; journalctl -u cutter --no-pager; exit 1 ;; esac
done
echo 1 >$group
echo killed`)
	if !strings.Contains(said, "killed") {
		t.Fatal(said)
	}
	// No deadline of the test's own: the window's is a minute, and a frozen filesystem would never let go.
	m.run(t, "timeout 300 sh -c 'echo after >/srv/after && sync -f /srv'")
	t.Log(m.run(t, "systemctl status cutter --no-pager; journalctl -b -u 'dmsnap*' --no-pager; dmsetup info -c; dmsnap recover; dmsnap list"))
	if state := m.run(t, "cat /sys/kernel/rcu_expedited"); state != "0\n" {
		t.Errorf("rcu_expedited is %s", state)
	}
	if left := m.run(t, "dmsetup ls"); strings.Contains(left, "dmsnap") {
		t.Errorf("left: %s", left)
	}
	m.run(t, "systemctl stop writer; umount /srv; e2fsck -fn /dev/mapper/slow; dmsetup remove slow")
	m.down(t)
}
