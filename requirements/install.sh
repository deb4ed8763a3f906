#!/usr/bin/env bash
# Install locked packages into an environment: every file is held against the hash committed here, or refused.
#     bash requirements/install.sh ENVIRONMENT LOCK [--editable] FOLDER   the packages of LOCK.txt, then our own from FOLDER
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
python="$1/bin/python" lock="$2"
[ -e "$python" ] || python="$1/Scripts/python.exe" # Windows
shift 2
# --no-deps: a lock names all there is to install. Without isolation, what builds a package is what build.txt names
locked() { "$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation "$@"; }
hashed() { for file; do locked --require-hashes --requirement "$here/$file.txt"; done; }

hashed build
# a CPU build where pip has one at hand (PyPI has not; pip's find-links or an index may), else PyPI's
hashed torch_cpu 2> /dev/null || hashed torch
hashed "$lock"
# PyPI's PyTorch for Linux needs CUDA's libraries, and says so in its metadata; a CPU build needs none
if ! "$python" -c "from importlib.metadata import requires; exit('nvidia' in str(requires('torch')))"; then
    hashed cuda
fi
locked "$@"
"$python" "$here/check.py"
