#!/usr/bin/env bash
# Installs LIBERO's simulator beside an installed extra 'libero': scripts/install_libero.sh [PYTHON].
# Its metadata asks for robomimic, hydra, wandb and an OpenCV that needs a display; the environments use none of them.
set -euo pipefail
"${1:-python}" -m pip install -qq --disable-pip-version-check --no-deps hf-libero==0.1.4 robosuite==1.4.0 bddl==1.0.1
