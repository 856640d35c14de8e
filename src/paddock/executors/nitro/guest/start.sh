#!/bin/busybox sh
# First program of the enclave's disk: makes the enclave ready, runs one launch, and ends the enclave.
export PATH=/usr/bin

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

mount -t proc -o nosuid,nodev,noexec proc /proc &&
  mount -t sysfs -o nosuid,nodev,noexec sysfs /sys &&
  mount -t tmpfs -o nosuid,nodev,mode=0755 tmpfs /run &&
  mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /tmp &&
  mkdir -p /dev/shm && mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /dev/shm || fail "file systems cannot be mounted"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup
[ -c /dev/nsm ] || fail "there is no security module"

# There is no network but this one, whose addresses lead to the host's sockets.
ip link set lo up || fail "there is no loopback network"

/usr/lib/paddock/bin/python3 -I -S /usr/lib/paddock/passage.py guest 2>/dev/null
off
