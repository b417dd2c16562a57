#!/bin/sh
# host.sh DIR DEB...: a host with a volume in use and an sshd, until that ends.
set -eu
dir=$1
shift
for deb; do
	dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C /
done
ldconfig
id sshd >/dev/null 2>&1 || useradd --system --no-create-home sshd
mkdir -p /run/sshd /srv/data

dmsetup create data --table '0 131072 linear /dev/vda 0'
mkfs.ext4 -q /dev/mapper/data
mount /dev/mapper/data /srv/data
printf old >/srv/data/data
/usr/sbin/sshd -D -e -f "$dir/sshd_config" || echo "sshd ended with $?"
umount /srv/data
dmsetup remove --retry data
