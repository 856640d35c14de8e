#!/bin/busybox sh
# First program of the machine, in its initial file system: loads modules, checks the disk against the root hash that the command line
# names, and goes over to it. Whatever fails turns the machine off: there is nobody to ask.
export PATH=/bin

# The end, whatever the host makes of it: `poweroff` ends its own process alone where the host lets the machine run on, but a
# kernel whose first program is gone stops.
off() {
  poweroff -f
  exit 1
}

fail() {
  echo "paddock: $1" >/dev/console
  off
}

mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t devtmpfs devtmpfs /dev || off

# The line that was measured with this file system, and no word more: an added word could name another disk.
[ "$(cat /proc/cmdline)" = "$(cat /command-line)" ] || fail "the command line is not the one that was built"

# The kernel's own numbers come from the processor, or keys here would be made of what the host sends. No line of the flags may lack it, and
# one must have it: a processor's name, which the host gives, can pass for one more line.
grep '^flags' /proc/cpuinfo | grep -qw rdrand || fail "the processor gives no random numbers"
grep '^flags' /proc/cpuinfo | grep -qvw rdrand && fail "the processor gives no random numbers"

while read -r module; do
  # Without the processor's own instructions for it, the kernel's plain code hashes the disk faster than emulated vectors.
  [ "$module" != sha256_ssse3 ] || grep -q ' sha_ni ' /proc/cpuinfo || continue
  insmod "/modules/$module.ko" || fail "the module $module cannot be loaded"
done </modules/order

verity= reference=
for word in $(cat /command-line); do
  case $word in
    paddock.verity=*) verity=${word#paddock.verity=} ;;
    paddock.reference) reference=yes ;;
  esac
done

# A machine that was started only to be measured tells its registers and ends.
if [ -n "$reference" ]; then
  for port in /sys/class/virtio-ports/*; do
    if [ "$(cat "$port/name")" = paddock.events ]; then
      (cd /sys/class/tpm/tpm0/pcr-sha256 && for each in *; do echo "$each $(cat "$each")"; done) >"/dev/${port##*/}"
    fi
  done
  off
fi

# BLOCKS:ROOT:SALT of docs/executors/confidential-vm.md, of one form.
case $verity in
  *[!0-9a-f:]* | *:*:*:* | "") fail "the command line names no disk" ;;
esac
blocks=${verity%%:*} rest=${verity#*:}
root=${rest%%:*} salt=${rest#*:}
[ ${#root} -eq 64 ] && [ ${#salt} -eq 64 ] || fail "the command line names no disk"
tries=0
while [ ! -b /dev/vda ]; do
  tries=$((tries + 1))
  [ $tries -lt 50 ] || fail "there is no disk"
  usleep 100000
done
dmsetup create paddock --readonly --noudevsync --noudevrules --verifyudev --table \
  "0 $((blocks * 8)) verity 1 /dev/vda /dev/vda 4096 4096 $blocks $blocks sha256 $root $salt" ||
  fail "the disk cannot be checked"
mount -t squashfs -o ro,nodev,nosuid /dev/mapper/paddock /disk || fail "the disk is not the one that the command line names"
umount /sys && umount /proc && mount --move /dev /disk/dev || fail "devices cannot be moved"
exec switch_root /disk /sbin/init
