#!/usr/bin/env bash
# Finds the cheapest threshold that keeps the dense model's labels on videos like yours, and saves the model with it:
#
#     bash examples/calibrate.sh MODEL FOLDER OUT [options of hf-ttr calibrate]
#
# FOLDER holds videos in any layout, without classes; half of them check what was found on the others. Some ten are
# little, a hundred are better: with few of them the bounds are wide, and no threshold may keep the promise. AGREEMENT
# (0.95) is the share of frames that must have the same label. OUT/model is then a checkpoint like any other.
set -euo pipefail

model=${1:?the first argument is a model} folder=${2:?the second is a folder of videos} out=${3:?the third is for results}
shift 3
hf-ttr calibrate --model "$model" --videos "$folder" --target-agreement "${AGREEMENT:-0.95}" --out "$out" "$@"
threshold=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["threshold"])' "$out/calibration.json")
hf-ttr convert "$model" "$out/model" --threshold "$threshold"
