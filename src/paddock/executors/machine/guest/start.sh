#!/bin/busybox sh
# First program of the checked disk: makes the machine ready, runs one enclave for one launch, and turns the machine off.
export PATH=/usr/bin

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

mount -t proc -o nosuid,nodev,noexec proc /proc &&
  mount -t sysfs -o nosuid,nodev,noexec sysfs /sys &&
  mount -t tmpfs -o nosuid,nodev,mode=0755 tmpfs /run &&
  mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /tmp &&
  mkdir -p /dev/shm && mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /dev/shm || fail "file systems cannot be mounted"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup
[ ! -d /sys/kernel/config ] || mount -t configfs -o nosuid,nodev,noexec configfs /sys/kernel/config

# One network card on the hypervisor's own network; what is behind it is not trusted for anything.
ip link set lo up
ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0

launch= events=
for port in /sys/class/virtio-ports/*; do
  case $(cat "$port/name") in
    paddock.launch) launch=/dev/${port##*/} ;;
    paddock.events) events=/dev/${port##*/} ;;
  esac
done
[ -n "$launch" ] && [ -n "$events" ] || fail "there are no ports for the launch and the events"

# All that the enclave gets of an environment, as from every executor.
env -i PATH=/usr/bin:/bin LANG=C.UTF-8 LC_ALL=C.UTF-8 TZ=UTC HOME=/nonexistent \
  /usr/lib/paddock/bin/python3 -I -m paddock.enclave <"$launch" >"$events" 2>/dev/null
sync
off
