#!/usr/bin/env bash
# Judges the pretrained networks and measures all that docs and report say of them. Takes a quarter of an hour.
#
#   mkdir anew && cd anew && ln -s ../pretrained .    # and MUSDB18, DSD100, MIR-1K, spleeter, spleeter.npz
#   bash ../report/measures/all.sh
#
# docs/results.md says what each of these is. Writes results/ in the current folder, which is not the project's own:
# results name the commit, and whether anything in the project has changed since.
set -euo pipefail
project=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3}
singers=(MIR-1K --include-test --hold-out bug ariel)
recurrent=pretrained/savedModel_RNN_best.pt
both=pretrained/savedModel_RNN_bidirectional_best.pt

evaluate() { # NAME OPTIONS...: on all three sets of songs, into results/NAME, which holds a folder of each
  local folder=results/$1
  shift
  "$python" "$project/evaluate.py" MUSDB18 "$@" --output "$folder/musdb"
  "$python" "$project/evaluate.py" DSD100 "$@" --output "$folder/songs"
  "$python" "$project/evaluate.py" "${singers[@]}" --split Valid "$@" --output "$folder/held_out_singers"
}

measure() { # NAME OPTIONS...
  "$python" "$project/report/measures/$1.py" "${@:2}"
}

peer() { # FOLDER DATASET OPTIONS...: Spleeter's voices, of all sets from a mono mixture
  "$python" "$project/recipe/separate_spleeter.py" spleeter.npz "${@:2}" --mono "peers/$1"
}

peer musdb MUSDB18
peer songs DSD100
peer singers "${singers[@]}" --split Valid
networks=(--bidirectional --tta 3)
"$python" "$project/evaluate.py" MUSDB18 "${networks[@]}" --estimates spleeter spleeter_mono=peers/musdb \
  --output results/musdb
"$python" "$project/evaluate.py" DSD100 "${networks[@]}" --estimates spleeter=peers/songs --output results/songs
"$python" "$project/evaluate.py" "${singers[@]}" --split Valid "${networks[@]}" --estimates spleeter=peers/singers \
  --output results/held_out_singers
evaluate five_keys --checkpoint both=$both --tta 5
evaluate both_ways --checkpoint trained=$both untrained=$recurrent --bidirectional --tta 3
for name in discussion cases; do
  measure $name DSD100 --output results/discussion/songs
  measure $name "${singers[@]}" --output results/discussion/held_out_singers
done
measure brightness MUSDB18 --output results/brightness/musdb.json
measure tuning MUSDB18 --output results/tuning/musdb.json
# Pictures of single songs are not kept, nor any of the evaluations that docs alone speak of.
find results -name 'spectrograms_*.png' -delete
find results/five_keys results/both_ways -name '*.png' -delete
