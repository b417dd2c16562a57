#!/bin/sh
# newuser.sh DMSNAP.deb SCENARIOS.test: what a user does who has the package and reads the README and the quick starts.
set -eux
export DEBIAN_FRONTEND=noninteractive
dpkg -i "$1"
cd "$(dirname "$0")/../../scenarios"
DMSNAP_FULL=1 DMSNAP_BIN=/usr/bin/dmsnap DMSNAP_DISKS=/dev/vda,/dev/vdb "$2" -test.v -test.run '^TestQuickStart$' -test.skip /partition
dpkg -P dmsnap
if [ -e /etc/dmsnap ] || [ -e /var/lib/dmsnap ]; then exit 1; fi
