#!/usr/bin/env bash
# Evaluates a model on a folder of videos, CLASS/VIDEO or SPLIT/CLASS/VIDEO, at several thresholds:
#
#     bash examples/evaluate_folder.sh MODEL FOLDER OUT [options of hf-ttr evaluate, such as --split test]
#
# THRESHOLDS names others. Each has a folder of its own in OUT; a run that was stopped is gone on with.
set -euo pipefail

model=${1:?the first argument is a model} folder=${2:?the second is a folder of videos} out=${3:?the third is for results}
shift 3
for threshold in ${THRESHOLDS:-0.05 0.1 0.2}; do
    echo "threshold $threshold"
    hf-ttr evaluate --model "$model" --dataset "$folder" --threshold "$threshold" --out "$out/$threshold" "$@"
done
