#!/bin/sh
# install.sh OLD.deb NEW.deb OLD.rpm NEW.rpm DKMS.deb: a machine from the first installation to the last removal.
set -eux
fails() { if "$@"; then exit 1; fi; }
gone() { for f; do if [ -e "$f" ]; then exit 1; fi; done; }

# With the package alone: what it has, and a set of a filesystem in use.
dpkg -i "$1"
dpkg -L dmsnap | while read -r f; do if [ -f "$f" ]; then echo "$f"; fi; done | grep -v ^/etc/ >/run/files
dmsnap version
dmsnap doctor
zcat /usr/share/man/man8/dmsnap-create.8.gz | grep -q '^.TH DMSNAP'
bash -c '. /usr/share/bash-completion/completions/dmsnap && complete -p dmsnap'
dmsetup create vg-home --table '0 131072 linear /dev/vda 0'
mkfs.ext4 -q /dev/mapper/vg-home
mkdir -p /run/home
mount /dev/mapper/vg-home /run/home
dmsnap create /run/home --name nightly --store /dev/vdb

# While there is a set the command stays.
fails dpkg -r dmsnap
dmsnap show nightly

# An upgrade keeps the set and what the administrator wrote.
echo 'chunk = 16k' >>/etc/dmsnap/dmsnap.conf
dpkg -i "$2"
dmsnap show nightly
grep -q '^chunk = 16k$' /etc/dmsnap/dmsnap.conf
dmsnap remove nightly

# Nor does it go while there is the record of a set that a reboot ended.
touch /var/lib/dmsnap/sets/ended.json
fails dpkg -r dmsnap
rm /var/lib/dmsnap/sets/ended.json

# Removed: the configuration stays. Purged: nothing does.
dpkg -r dmsnap
gone $(cat /run/files)
test -e /etc/dmsnap/dmsnap.conf
dpkg -P dmsnap
gone /etc/dmsnap /var/lib/dmsnap

# The same with rpm, which has no purge.
rpm="rpm --dbpath /run/rpm --nodeps"
$rpm -i "$3"
dmsnap create /run/home --name nightly --store /dev/vdb
fails $rpm -e dmsnap
$rpm -U "$4"
dmsnap remove nightly
echo 'chunk = 16k' >>/etc/dmsnap/dmsnap.conf
$rpm -e dmsnap
gone /usr/bin/dmsnap /etc/dmsnap/dmsnap.conf
grep -q '^chunk = 16k$' /etc/dmsnap/dmsnap.conf.rpmsave
rm -r /etc/dmsnap /var/lib/dmsnap

# The module's sources come and go with what DKMS is told. It is stood in for: this machine has no headers.
cat >/usr/local/sbin/dkms <<'END'
#!/bin/sh
echo "$*" >>/run/dkms
case "$1" in
status) if [ -e /run/dkms.added ]; then echo added; fi ;;
add) test -e "/usr/src/$3-$5/dkms.conf" && touch /run/dkms.added ;;
remove) rm /run/dkms.added ;;
esac
END
chmod +x /usr/local/sbin/dkms
dpkg -i --force-depends "$5"
test -e /run/dkms.added
dpkg -P --force-depends dmsnap-dkms
gone /run/dkms.added /usr/src/dm-interpose-*
rm /usr/local/sbin/dkms /run/dkms

umount /run/home
dmsetup remove vg-home
