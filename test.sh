#!/usr/bin/env bash
# Environment, installation, lint and tests: everything a change must pass. Arguments go to pytest, e.g. -k loss.
set -euo pipefail
cd "$(dirname "$0")"
"${PYTHON:-python3}" -m venv .venv
.venv/bin/python -m pip install --quiet --requirement requirements-dev.txt
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy .
# Two tests at a time, each with up to 2 GB of memory: most of them wait for scripts that start.
.venv/bin/python -m pytest --numprocesses 2 --dist worksteal "$@"
