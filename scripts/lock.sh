#!/bin/sh
# Makes requirements.lock (everything: core, extras, development, build) and requirements-enclave.lock (what an
# enclave image holds: core and Paddle). `make lock ARGS=--upgrade` takes newer versions; plain `make lock` keeps
# those that still fit.
set -eu
cd "$(dirname "$0")/.."

uv=$(command -v uv || true)
[ -n "$uv" ] || uv=.venv/bin/uv
[ -x "$uv" ] || {
  echo "lock: uv is needed, and only here: .venv/bin/python -m pip install uv" >&2
  exit 1
}

# Neither the index nor the machine leaves a trace in the files: hashes say what a package is.
compile() {
  "$uv" pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-strip-extras "$@"
}
compile --all-extras --group dev --output-file requirements.lock ${ARGS:-}
# The second is a part of the first, version for version.
compile --extra paddle --constraint requirements.lock --output-file requirements-enclave.lock
