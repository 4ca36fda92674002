#!/usr/bin/env bash
# Install the packages, then run the whole homework on synthesised songs: train, separate, evaluate. Writes into demo/.
set -euo pipefail
cd "$(dirname "$0")"
if [ -e demo ]; then
  echo "demo/: already exists; remove or rename it first" >&2
  exit 1
fi
"${PYTHON:-python3}" -m venv .venv
.venv/bin/python -m pip install --quiet --requirement requirements.txt
python=.venv/bin/python
started=$SECONDS

echo "== Synthesising a dataset of songs"
$python make_demo_dataset.py demo/songs

echo "== Training the single-frame network, then the recurrent one from its weights"
$python train_feedforward.py demo/songs --encoder bands --epochs 20 --batch-size 8 --output demo
$python train_RNN.py demo/songs --hidden-size 96 --epochs 80 --batch-size 4 --output demo

echo "== Separating a song that neither network has heard"
song=$(find demo/songs/Mixtures/Test -name mixture.wav | sort | head -n 1)
$python separate_RNN.py "$song" demo/voice.wav --checkpoint demo/savedModel_RNN_best.pt

echo "== Evaluating both networks on the test songs"
$python evaluate.py demo/songs --feedforward demo/savedModel_feedforward_best.pt --rnn demo/savedModel_RNN_best.pt \
  --output demo/results --page demo/page | tee demo/evaluation.txt

echo
echo "Done in $((SECONDS - started)) s. Open in this order:"
echo "  demo/page/index.html            all songs and systems, to compare by ear"
echo "  demo/voice.wav                  the voice of $song"
echo "  demo/savedModel_*_loss.png      the loss curves; demo/savedModel_*_spectrograms.png what the networks estimate"
echo "  demo/results/evaluation.md      all tables"
tail -n 1 demo/evaluation.txt
