#!/usr/bin/env bash
# One command that installs the application: bash deploy/setup.sh [ENVIRONMENT]   (default: .venv-deploy)
# Python 3.10 to 3.13 on Linux. PYTHON picks another interpreter, TORCH another PyTorch (for a GPU: its CUDA 13 build).
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
environment="${1:-.venv-deploy}"
torch="${TORCH:-$(grep '^torch==' "$here/../constraints.txt")}"

"${PYTHON:-python3}" -m venv "$environment"
pip() { "$environment/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install "$torch" # first, so that nothing below looks for a newer one
grep -v '^torch==' "$here/../constraints.txt" > "$environment/constraints.txt"
pip install --constraint "$environment/constraints.txt" --requirement "$here/requirements.txt" "$here/.."

"$environment/bin/python" "$here" --help > /dev/null
echo "ready: $environment/bin/python $here -i DICOM_FOLDER -o OUT -m model.ts"
