#!/usr/bin/env bash
# Installs TempoVLA with all extras into .venv, and the system libraries that draw offscreen. Run by `make`.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "set up: $1" >&2
  exit 1
}

as_root_with_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

apt_install() {
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "no Python 3.11 or newer found; install one, or name it: make PYTHON=/path/to/python3.11"
}

python=$(find_python)
if [ ! -x .venv/bin/pip ]; then
  if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    as_root_with_apt || fail "$python has no venv module; install it: sudo apt-get install python$version-venv"
    apt_install "python$version-venv" || fail "apt-get could not install python$version-venv; see its message above"
  fi
  rm -rf .venv
  "$python" -m venv .venv || fail "$python could not make .venv; see its message above"
fi

echo "set up: installing packages into .venv (a few minutes the first time)"
.venv/bin/pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[sim,driving,libero,viz,diffusion,lora,export,faiss,points,docs,dev]' ||
  fail "pip could not install the packages; see its message above"
scripts/install_libero.sh .venv/bin/python || fail "pip could not install LIBERO; see its message above"

can_draw() { .venv/bin/python -c 'from tempovla.env.rendering import select_backend; select_backend()' 2>/dev/null; }

libraries=(libegl1 libgl1-mesa-dri libosmesa6)
if ! can_draw; then
  as_root_with_apt || fail "no library draws offscreen; install one: sudo apt-get install ${libraries[*]}"
  echo "set up: installing ${libraries[*]}"
  apt_install "${libraries[@]}" || fail "apt-get could not install ${libraries[*]}; see its message above"
  can_draw || fail "neither EGL nor OSMesa works, though ${libraries[*]} are installed; try MUJOCO_GL=osmesa"
fi
touch .venv/installed
