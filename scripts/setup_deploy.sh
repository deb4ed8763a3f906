#!/usr/bin/env bash
# One command that installs the application: bash scripts/setup_deploy.sh [ENVIRONMENT]   (default: .venv-deploy)
# Python 3.10 to 3.13 on Linux; PYTHON picks another interpreter.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
environment="${1:-.venv-deploy}"

"${PYTHON:-python3}" -m venv "$environment"
bash "$here/../requirements/install.sh" "$environment" deploy "$here/.."

"$environment/bin/python" -m conemos_bundle.hosts.deploy --help > /dev/null
echo "ready: $environment/bin/python -m conemos_bundle.hosts.deploy -i DICOM_FOLDER -o OUT -m model.ts"
