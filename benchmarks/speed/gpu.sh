#!/usr/bin/env bash
# All that benchmarks/speed/gpu.py finds out about a GPU, in at most 6 minutes, on songs that are synthesised.
#
#   bash benchmarks/speed/gpu.sh [OUTPUT [more options of gpu.py]]      # writes OUTPUT/gpu.json; OUTPUT is results
#
# To try the script without a GPU:
#   MOST=3600 SONGS=3 COPIES=1 bash benchmarks/speed/gpu.sh OUTPUT --device cpu --seconds 5 --batches 1
set -euo pipefail
output=${1:-results}
shift || true
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
most=${MOST:-355} # seconds, after which what is not measured is left out
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$output"
"$python" "$here/../../make_demo_dataset.py" "$work/songs" --songs "${SONGS:-14}"
for song in "$work"/songs/*/Train/*; do # more to read: an epoch is to be long
  for copy in $(seq 2 "${COPIES:-8}"); do cp -r "$song" "$song copy $copy"; done
done
timeout $((most - SECONDS)) "$python" "$here/gpu.py" "$work/songs" --output "$output/gpu.json" \
  --limit $((most - SECONDS - 5)) "$@"
