#!/bin/sh
# Makes .venv: the interpreter, every pinned package, and Paddock itself. `make` calls it before anything else.
#
# Where packages come from is the business of this machine's pip configuration; what they are is fixed by the hashes
# in requirements.lock. Repeated calls do nothing until the lock or pyproject.toml changes.
set -eu
cd "$(dirname "$0")/.."

venv=.venv
stamp=$venv/.paddock-setup
started=$(date +%s)

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

# The folder is part of the stamp: a virtual environment that was moved or copied does not work.
wanted=$({ pwd; cat requirements.lock pyproject.toml scripts/setup.sh; } | sha256sum | cut -d ' ' -f 1)
if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
  exit 0
fi

case "$(uname -s) $(uname -m)" in
  "Linux x86_64") ;;
  *) fail "PaddlePaddle 3.3 is published for Linux on x86_64; this is $(uname -s) on $(uname -m)." ;;
esac

# Paddle is built for these versions of CPython; one of a name with a version comes before plain python3.
suits() {
  "$1" -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 13) and sys.implementation.name == "cpython"))' \
    >/dev/null 2>&1
}
python=
for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3 python; do
  if command -v "$candidate" >/dev/null 2>&1 && suits "$candidate"; then
    python=$(command -v "$candidate")
    break
  fi
done
[ -n "$python" ] || fail "No Python 3.11, 3.12 or 3.13 was found. Install one (Debian: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3.12 setup"

lists_are_new=
install_packages() {
  if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" -eq 0 ]; then
      as_root=env
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
      as_root="sudo -n env"
    else
      return 1
    fi
    say "installing $* from the distribution"
    log=$(mktemp)
    if {
      { [ -n "$lists_are_new" ] || $as_root apt-get update; } &&
        lists_are_new=yes &&
        $as_root DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
    } >"$log" 2>&1; then
      rm -f "$log"
      return 0
    fi
    tail -n 5 "$log" >&2
    rm -f "$log"
  fi
  return 1
}

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
  install_packages "python$version-venv" || install_packages python3-venv || true
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "Python $version has no venv module. As an administrator: apt-get install python$version-venv (or python3-venv), then run this again."
fi
has_openmp() { "$python" -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null; }
if ! has_openmp; then
  install_packages libgomp1 || true
  has_openmp ||
    fail "PaddlePaddle needs the OpenMP library. As an administrator: apt-get install libgomp1, then run this again."
fi

# Tests talk to a TPM of software. Nothing else needs it, so a machine without it is set up all the same.
has_tpm() { command -v swtpm >/dev/null 2>&1 && command -v tpm2_quote >/dev/null 2>&1; }
if ! has_tpm; then
  install_packages swtpm tpm2-tools libtss2-tcti-swtpm0 || install_packages swtpm tpm2-tools || true
  has_tpm || say "swtpm and tpm2-tools are not here: tests with a real TPM will be skipped. As an administrator: apt-get install swtpm tpm2-tools"
fi

# Volumes are mounted by the one; the benchmark of mounts puts them beside the other.
has_mounts() { command -v fusermount3 >/dev/null 2>&1 && command -v gocryptfs >/dev/null 2>&1; }
if ! has_mounts; then
  install_packages fuse3 gocryptfs || install_packages fuse3 || true
  has_mounts || say "fuse3 and gocryptfs are not here: nothing can be mounted without the first, and its benchmark needs the second. As an administrator: apt-get install fuse3 gocryptfs"
fi

# Jobs of levels 2 to 4 run behind walls that these build. What needs none of them works without.
has_walls() { command -v bwrap >/dev/null 2>&1 && "$python" -c 'import ctypes; ctypes.CDLL("libseccomp.so.2")' 2>/dev/null; }
if ! has_walls; then
  install_packages bubblewrap libseccomp2 || true
  has_walls || say "bubblewrap and libseccomp2 are not here: no job can run at levels 2 to 4, and tests of them fail. As an administrator: apt-get install bubblewrap libseccomp2"
fi

# Tests start a machine for real, in emulation. Only who runs machines needs this.
has_machines() {
  command -v qemu-system-x86_64 >/dev/null 2>&1 && command -v mksquashfs >/dev/null 2>&1 && [ -e /usr/sbin/dmsetup ] &&
    [ -e /usr/share/OVMF/OVMF_CODE_4M.fd ] && [ -e /usr/lib/systemd/boot/efi/linuxx64.efi.stub ] && command -v busybox >/dev/null 2>&1
}
if ! has_machines; then
  install_packages qemu-system-x86 ovmf squashfs-tools dmsetup busybox-static systemd-boot-efi cryptsetup-bin || true
  has_machines || say "QEMU, OVMF, squashfs-tools, dmsetup, busybox or systemd's stub are not here: tests with a real machine will be skipped. As an administrator: apt-get install qemu-system-x86 ovmf squashfs-tools dmsetup busybox-static systemd-boot-efi"
fi

say "Python $version ($python) -> $venv"
same_version() {
  [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 &&
    [ "$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2], sys.prefix)' 2>/dev/null)" = "$version $(pwd -P)/$venv" ]
}
rm -f "$stamp"
same_version || "$python" -m venv --clear "$venv"

say "installing the pinned packages (about 400 MB to fetch the first time; it takes a minute or two)"
"$venv/bin/python" -m pip install --disable-pip-version-check -qq --progress-bar off \
  --require-hashes --only-binary :all: -r requirements.lock ||
  fail "pip could not install the pinned packages; its message is above. Is a package index reachable?"

say "installing Paddock itself"
"$venv/bin/python" -m pip install --disable-pip-version-check -qq \
  --no-deps --no-build-isolation --no-index -e .
# Every command is a process of its own; where Python is told to write no byte code it would compile Paddock each time.
"$venv/bin/python" -m compileall -q -j 0 src || say "byte code could not be written below src: commands start more slowly"
printf '%s\n' "$wanted" >"$stamp"
say "done in $(($(date +%s) - started)) s"
