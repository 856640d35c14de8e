#!/bin/busybox sh
# First program of the enclave, in its first ramdisk: loads modules and goes over to the disk that the second one brought. All of both is
# measured, so nothing is checked here. Whatever fails ends the enclave: there is nobody to ask.
export PATH=/bin

fail() {
  echo "paddock: $1" >/dev/console
  reboot -f
}

mount -t proc proc /proc && mount -t sysfs sysfs /sys || reboot -f
[ -c /dev/null ] || mount -t devtmpfs devtmpfs /dev || fail "there are no devices"
while read -r module; do
  insmod "/modules/$module.ko" || fail "the module $module cannot be loaded"
done </modules/order
mount -t squashfs -o ro,nodev,nosuid,loop /disk.img /disk || fail "there is no disk"
umount /sys && umount /proc && mount --move /dev /disk/dev || fail "devices cannot be moved"
exec switch_root /disk /sbin/init
