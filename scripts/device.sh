#!/bin/sh
# What a booted device is made of, in build/device: Debian's arm64 kernel, an initial root of BusyBox, and a minimal Debian. Then the
# tests in tinytest/device boot it. What is missing is installed where this runs as root on a system with apt-get; elsewhere it says so
# and is skipped.
set -eu
cd "$(dirname "$0")/.."
GO=${GO:-go}
out=$PWD/build/device
data=$PWD/tinytest/device/testdata
suite=bookworm

skip() {
	echo "device: skipped: $*"
	exit 0
}

needed='qemu-system-aarch64:qemu-system-arm debootstrap:debootstrap mksquashfs:squashfs-tools mke2fs:e2fsprogs cpio:cpio
	aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu'
missing() {
	for n in $needed; do
		command -v "${n%%:*}" >/dev/null || echo "${n##*:}"
	done
	# The C library of a cross compiler is a package of its own, which a compiler alone does not show.
	[ -e "$(aarch64-linux-gnu-gcc -print-file-name=libc.a 2>/dev/null || true)" ] || echo libc6-dev-arm64-cross
}
[ "$(id -u)" = 0 ] || skip "a Debian for another machine is unpacked by root only"
command -v apt-get >/dev/null || skip "the kernel comes by apt-get, which is missing"
packages=$(missing | tr '\n' ' ')
if [ -n "$packages" ]; then
	apt-get update -q || skip "not installed: $packages"
	# shellcheck disable=SC2086
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages || skip "not installed: $packages"
fi

mkdir -p "$out"
# Each part is made once, by this script as it is.
sum=$(cat scripts/device.sh "$data/init" "$data/agent.sh" "$data/second-stage" | cksum)
[ "$(cat "$out/made-by" 2>/dev/null)" = "$sum" ] || rm -f "$out/vmlinuz" "$out/debian.ext4"
echo "$sum" >"$out/made-by"
if [ ! -e "$out/vmlinuz" ]; then
	echo "device: the kernel and BusyBox"
	work=$out/apt
	rm -rf "$work"
	mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/root"
	apt_arm64() {
		command=$1
		shift
		(cd "$work" && "$command" -q -o Dir::State="$work" -o Dir::State::status=/dev/null -o Dir::Cache="$work" \
			-o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root "$@")
	}
	apt_arm64 apt-get update >/dev/null || skip "the list of Debian's arm64 packages cannot be fetched"
	kernel=$(apt_arm64 apt-cache depends linux-image-cloud-arm64 | sed -n 's/.*Depends: //p')
	# shellcheck disable=SC2086
	apt_arm64 apt-get download $kernel busybox-static || skip "the kernel's package cannot be fetched"
	for deb in "$work"/*.deb; do
		dpkg-deb -x "$deb" "$work/root"
	done
	cp "$work/root/bin/busybox" "$out/busybox"
	mkdir -p "$work/initrd/bin" "$work/initrd/modules" "$work/initrd/dev" "$work/initrd/proc" "$work/initrd/sys" "$work/initrd/mnt"
	cp "$out/busybox" "$work/initrd/bin"
	cp "$data/init" "$work/initrd/init"
	chmod 755 "$work/initrd/init"
	for m in virtio virtio_ring virtio_mmio virtio_blk virtio_console failover net_failover virtio_net squashfs; do
		find "$work/root/lib/modules" -name "$m.ko" -exec cp {} "$work/initrd/modules" \;
	done
	(cd "$work/initrd" && find . | cpio -o -H newc --quiet) | gzip -9n >"$out/initrd"
	cp "$work"/root/boot/vmlinuz-* "$out/vmlinuz.new"
	mv "$out/vmlinuz.new" "$out/vmlinuz"
	rm -rf "$work"
fi

if [ ! -e "$out/debian.ext4" ]; then
	echo "device: a minimal Debian, configured in the machine itself (minutes, once)"
	root=$out/root
	rm -rf "$root"
	debootstrap --arch=arm64 --foreign --variant=minbase --include=systemd,systemd-sysv,udev "$suite" "$root" >"$out/debootstrap.txt" ||
		skip "debootstrap fails: build/device/debootstrap.txt says why"
	# debootstrap's second stage unpacks all packages once more, which takes an emulated machine ten minutes. This one unpacks
	# them, and writes down what dpkg would have written.
	info=$root/var/lib/dpkg/info
	mkdir -p "$info"
	: >"$root/var/lib/dpkg/status"
	for deb in "$root"/var/cache/apt/archives/*.deb; do
		name=$(dpkg-deb -f "$deb" Package)
		[ "$(dpkg-deb -f "$deb" Multi-Arch)" != same ] || name=$name:arm64
		dpkg-deb --fsys-tarfile "$deb" | tar -x --skip-old-files -C "$root" --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' \
			--exclude='./usr/share/locale/*'
		dpkg-deb --fsys-tarfile "$deb" | tar -t | sed 's,^\./*,/,; s,\(.\)/$,\1,; s,^/$,/.,' >"$info/$name.list"
		dpkg-deb -e "$deb" "$root/control"
		sed '/^Package:/a Status: install ok unpacked' "$root/control/control" >>"$root/var/lib/dpkg/status"
		echo >>"$root/var/lib/dpkg/status"
		rm "$root/control/control"
		for f in "$root"/control/*; do
			[ ! -e "$f" ] || mv "$f" "$info/$name.${f##*/}"
		done
		rmdir "$root/control"
	done
	# What debootstrap does by hand before any package is configured.
	cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
	cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
	ln -sf mawk "$root/usr/bin/awk"
	ln -sf /usr/share/zoneinfo/UTC "$root/etc/localtime"
	rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root/debootstrap"
	rm -rf "$root/proc" # in a container debootstrap makes it a symbolic link
	mkdir -p "$root/proc" "$root/box"
	cp "$data/agent.sh" "$root/usr/sbin/device-agent"
	cp "$data/second-stage" "$root/second-stage"
	chmod 755 "$root/usr/sbin/device-agent" "$root/second-stage"
	printf '[Service]\nExecStart=/usr/sbin/device-agent\nRestart=always\n[Install]\nWantedBy=multi-user.target\n' \
		>"$root/etc/systemd/system/device-agent.service"
	rm -f "$out/debian.new"
	mke2fs -q -t ext4 -d "$root" "$out/debian.new" 600M
	rm -rf "$root"
	timeout 3600 qemu-system-aarch64 -M virt -cpu cortex-a53 -m 512M -nodefaults -display none -no-reboot -serial "file:$out/second-stage.txt" \
		-kernel "$out/vmlinuz" -initrd "$out/initrd" -append "console=ttyAMA0 panic=-1 quiet init=/second-stage" \
		-drive "if=none,id=root,file=$out/debian.new,format=raw,cache=unsafe" -device virtio-blk-device,drive=root,serial=disk0
	grep -q SECOND-STAGE-WHOLE "$out/second-stage.txt" || {
		echo "device: the packages were not configured: build/device/second-stage.txt says why" >&2
		exit 1
	}
	e2fsck -fp "$out/debian.new" >>"$out/second-stage.txt" || [ $? = 1 ] # replays its journal
	mv "$out/debian.new" "$out/debian.ext4"
fi

${MAKE:-make} -s packages >"$out/packages.txt" 2>&1 || {
	tail -n 20 "$out/packages.txt"
	exit 1
}
NMOS_DEVICE=1 "$GO" test -count=1 -timeout 170m -v ./tinytest/device >"$out/test.txt" 2>&1 || {
	tail -n 100 "$out/test.txt"
	exit 1
}
cat build/device.txt
