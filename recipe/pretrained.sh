#!/usr/bin/env bash
# Trains networks for real songs: the single-frame one, then the recurrent one from its weights, then the bidirectional
# one from those of the recurrent one. Started again, it keeps what is there and continues a run that was stopped.
#
#   bash recipe/pretrained.sh DATA OUTPUT [--device cuda] [--bfloat16] [more options of both training scripts]
#   PROCESSES=2 bash recipe/pretrained.sh DATA OUTPUT        # one for each core of a CPU, or each of several GPUs
#
# DATA holds songs/ (any layout that the training scripts read, such as MUSDB18-HQ or DSD100 as it was downloaded) and,
# if there are any, taught/ (songs labelled by label_songs.py), estimated/ (more of them, excerpts in mono), mir1k/
# (MIR-1K), voices/ (singing alone) and accompaniments/ (music without a voice). HOLD_OUT names songs or artists of
# songs/ to validate on, one per line. Without it, those validate that the training scripts choose, and no folder's Test
# songs are trained on, such as those of seventeen singers in mir1k/. LEAVE_OUT names others not to be trained on.
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "usage: [PROCESSES=N] bash recipe/pretrained.sh DATA OUTPUT [OPTIONS OF TRAINING], see recipe/README.md" >&2
  exit 2
fi
data=$1 output=$2
shift 2
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}

lines() { # the lines of a variable, each an argument
  printf '%s' "$1" | tr '\n' '\0' | xargs -0 -r printf '%s\n'
}
mapfile -t held < <(lines "${HOLD_OUT:-}")
mapfile -t left < <(lines "${LEAVE_OUT:-}")

# Shares of excerpts by where their voice comes from. Two fifths are karaoke, which singers never heard gain from.
mix=()
for folder in songs=0.13 taught=0.28 estimated=0.03 mir1k=0.40 voices=0.16; do
  [ -e "$data/${folder%=*}" ] && mix+=("$data/$folder")
done
songs=("$data/songs")
[ ${#held[@]} -gt 0 ] && songs+=(--include-test --hold-out "${held[@]}")
for option in "$@"; do # the power is chosen on the songs that validate in training
  [ "$option" = --include-test ] && songs+=("$option")
done
common=("${songs[@]}" --output "$output" --mix "${mix[@]}" --target projection --remix 0.5 --gain -3 12)
common+=(--speed 0.76 1.32 --transpose 4 --effects 0.35 --equalizer 2 --weighting 1)
[ -e "$data/accompaniments" ] && common+=(--accompaniments "$data/accompaniments")
[ ${#left[@]} -gt 0 ] && common+=(--leave-out "${left[@]}")

if ! [[ ${PROCESSES:-1} =~ ^[1-9][0-9]*$ ]]; then
  echo "error: PROCESSES: expected a number from 1, found '$PROCESSES'" >&2
  exit 1
fi
run=("$python")
[ "${PROCESSES:-1}" -gt 1 ] && run+=(-m torch.distributed.run --standalone --nproc-per-node "$PROCESSES")

train() { # NAME OPTIONS...: begin, go on, or leave it if it is done
  local name=$1
  shift
  "${run[@]}" "$here/train_$name.py" "${common[@]}" --resume "$@"
}

started=$SECONDS
mkdir -p "$output"
train feedforward --encoder bands --bands 30 --sample-rate 32000 --block 4096 --hop 1024 \
  --excerpt 1 --batch-size 48 --steps 100 --epochs 50 --patience 200 --seed 0 "$@"
memory=(--excerpt 5 --batch-size 8 --steps 200 --patience 200)
# Each with a seed of its own: with one seed, the second would learn from the very mixtures of the first.
train RNN --hidden-size 96 --layers 2 "${memory[@]}" --epochs 56 --seed 1 "$@"
train RNN --bidirectional "${memory[@]}" --epochs 46 --learning-rate 6e-4 --seed 2 "$@"
for name in feedforward RNN RNN_bidirectional; do
  "$python" "$here/recipe/choose_power.py" "$output/savedModel_${name}_best.pt" "${songs[@]}" \
    --or "$output/savedModel_${name}_last.pt"
done
echo "made in $(((SECONDS - started) / 60)) minutes: $output/savedModel_{feedforward,RNN,RNN_bidirectional}_best.pt"
