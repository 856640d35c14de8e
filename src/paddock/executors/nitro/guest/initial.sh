#!/bin/busybox sh
# First program of the enclave, in its first ramdisk: loads modules and goes over to the disk that the second one brought. All of both is
# measured, but not where one part ends and the next begins: what would tell is checked here. Whatever fails ends the enclave: there is
# nobody to ask.
export PATH=/bin

# The end, whatever the host makes of it: `reboot` ends its own process alone where the host lets the enclave run on, but a
# kernel whose first program is gone stops.
off() {
  reboot -f
  exit 1
}

fail() {
  echo "paddock: $1" >/dev/console
  off
}

mount -t proc proc /proc && mount -t sysfs sysfs /sys || off
[ -c /dev/null ] || mount -t devtmpfs devtmpfs /dev || fail "there are no devices"

# The command line is exactly the one that this ramdisk was built with; behind it stand devices that the hypervisor names, nothing else. The
# kernel splits at more characters than a shell does, so few are allowed.
set -f
IFS= read -r built </command-line && IFS= read -r given </proc/cmdline || fail "there is no command line"
case "$given " in
  "$built "*) ;;
  *) fail "the command line is another" ;;
esac
for word in ${given#"$built"}; do
  case "$word" in
    *[!0-9A-Za-z_.=@:]*) fail "the command line says more" ;;
    virtio_mmio.device=*) ;;
    *) fail "the command line says more" ;;
  esac
done
sha256sum -c -s /disk.sum || fail "the disk is another"

while read -r module; do
  insmod "/modules/$module.ko" || fail "the module $module cannot be loaded"
done </modules/order
mount -t squashfs -o ro,nodev,nosuid,loop /disk.img /disk || fail "there is no disk"
umount /sys && umount /proc && mount --move /dev /disk/dev || fail "devices cannot be moved"
exec switch_root /disk /sbin/init
