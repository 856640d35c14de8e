#!/bin/sh
# Fetches the distribution's kernel for virtual machines and unpacks it into a folder; installs nothing.
#
#   sh scripts/kernel.sh FOLDER      then FOLDER/boot/vmlinuz-… and FOLDER/lib/modules
set -eu
folder=$1
[ ! -e "$folder" ] || exit 0

fail() {
  printf 'kernel: %s\n' "$*" >&2
  exit 1
}
command -v apt-get >/dev/null 2>&1 || fail "no apt-get here: unpack a kernel of your distribution into $folder"

image=
for name in linux-image-cloud-amd64 linux-image-virtual linux-image-amd64; do
  image=$(apt-cache depends --important "$name" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
  [ -z "$image" ] || break
done
[ -n "$image" ] || fail "the distribution's index names no kernel: apt-get update"
mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT
# Some distributions keep modules in a package of their own.
modules=$(printf '%s' "$image" | sed 's/^linux-image-/linux-modules-/')
wanted=$image
apt-cache show "$modules" >/dev/null 2>&1 && wanted="$image $modules"
# shellcheck disable=SC2086 # one or two names
(cd "$work" && apt-get download $wanted) >"$work/log" 2>&1 || fail "$(tail -n 1 "$work/log")"
mkdir "$work/tree"
for package in "$work"/*.deb; do
  dpkg-deb -x "$package" "$work/tree"
done
chmod 755 "$work/tree"
mv "$work/tree" "$folder"
