#!/bin/sh
# dkmskernels.sh SOURCES DKMS.deb...: for which kernels each DKMS builds the module, by itself as when a kernel is installed. Whatever
# it decides, it succeeds: if not, the kernel's package would not be configured.
set -eu
sources=$1
shift
mount -t tmpfs none /lib/modules
mount -t tmpfs none /var/lib

# kernel NAME OPTION...: a kernel's headers, which build any module.
kernel() {
	build=/lib/modules/$1/build
	mkdir -p "$build/include"
	: > "/lib/modules/$1/modules.order"
	: > "/lib/modules/$1/modules.builtin"
	printf 'modules:\n\ttouch $(M)/dm-interpose.ko\nclean:\n' > "$build/Makefile"
	shift
	for option; do echo "CONFIG_$option"; done > "$build/.config"
}

# decides EXPECTED KERNEL
decides() {
	$dkms autoinstall -k "$2" > "$tree/said" 2>&1 || { cat "$tree/said"; echo "$2: DKMS failed"; exit 1; }
	built=$(find "/lib/modules/$2" -name 'dm-interpose.ko*' | wc -l)
	[ "$built" = "$1" ] || { cat "$tree/said"; echo "$2: built $built modules, want $1"; exit 1; }
}

for package; do
	rm -rf /lib/modules/* && tree=$(mktemp -d)
	dpkg-deb -x "$package" "$tree"
	mkdir -p "$tree/src" "$tree/state"
	cp -r "$sources" "$tree/src/dm-interpose-1.1.0"
	dkms="$tree/usr/sbin/dkms --dkmstree $tree/state --sourcetree $tree/src --installtree /lib/modules"
	$dkms --version
	$dkms add dm-interpose/1.1.0
	for name in 6.1.0-50-amd64 6.8.0-31-generic 6.12.0-55.el10 7.2.13 10.0.1; do
		kernel $name BLK_DEV_DM=m DYNAMIC_FTRACE_WITH_ARGS=y
		decides 1 $name
	done
	for name in 5.14.0-427.el9 5.15.0-119-generic 6.0.19; do
		kernel $name BLK_DEV_DM=m DYNAMIC_FTRACE_WITH_ARGS=y
		decides 0 $name
	done
	kernel 6.1.0-notrace BLK_DEV_DM=m
	kernel 6.2.0-nodm DYNAMIC_FTRACE_WITH_ARGS=y
	decides 0 6.1.0-notrace
	decides 0 6.2.0-nodm
	rm -r "$tree"
	echo "as wanted"
done
umount /var/lib /lib/modules
