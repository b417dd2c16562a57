#!/bin/sh
# dkms.sh DMSNAP.deb DMSNAP-DKMS.deb SCENARIOS.test DEB...: a user with a plain partition, who has the packages. The other packages
# are DKMS and the kernel's headers.
set -eux
export DEBIAN_FRONTEND=noninteractive
command=$1 module=$2 tests=$3
shift 3
dpkg -i "$command"

# The headers depend on the package of their kernel, which this machine was started from without being installed.
begun=$(date +%s)
dpkg -i --force-depends "$@"
echo "seconds to install headers and DKMS: $(($(date +%s) - begun))"
begun=$(date +%s)
dpkg -i --force-depends "$module"
echo "seconds to build the module: $(($(date +%s) - begun))"
dkms status
dkms status | grep -q "^dm-interpose/.*$(uname -r).*: installed"

# Kernels that it cannot be built for are left alone, and their packages configured.
for unfit in 5.14.0-427.el9 6.1.0-notrace; do
	mkdir -p "/lib/modules/$unfit/build/include"
	echo CONFIG_BLK_DEV_DM=m > "/lib/modules/$unfit/build/.config"
	dkms autoinstall -k "$unfit"
	rm -r "/lib/modules/$unfit"
done

modprobe dm-interpose
grep -q '^dm_interpose ' /proc/modules
rmmod dm_interpose

cd "$(dirname "$0")/../../scenarios"
DMSNAP_FULL=1 DMSNAP_BIN=/usr/bin/dmsnap DMSNAP_DISKS=/dev/vda DMSNAP_MODULE=$(modinfo -n dm-interpose) \
	"$tests" -test.v -test.run '^TestQuickStart$/partition'

dpkg -P --force-depends dmsnap-dkms
if modinfo dm-interpose; then exit 1; fi
dpkg -P dmsnap
if [ -e /etc/dmsnap ] || [ -e /var/lib/dmsnap ]; then exit 1; fi
