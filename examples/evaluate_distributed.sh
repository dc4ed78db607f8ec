#!/usr/bin/env bash
# Evaluates a model on all GPUs of one machine, or of several:
#
#     bash examples/evaluate_distributed.sh MODEL DATASET OUT [options of hf-ttr evaluate]
#
# On several machines, run it on each with the same arguments and
#
#     NODES=2           the number of machines
#     NODE_RANK=0       the number of this one, from 0
#     HOST=10.0.0.1     the address of number 0, which PORT (29500) of the others must reach
#
# PROCESSES is the number on each machine, by default one for each GPU, or one. LAUNCHER=accelerate starts them with
# accelerate launch, which on CPUs would start a single one; torchrun works there too. Rows and summary are the same
# however many there are. They are in OUT of machine 0; OUT need not be on a disk that all of them share.
set -euo pipefail

model=${1:?the first argument is a model} dataset=${2:?the second is a data set} out=${3:?the third is for results}
shift 3
nodes=${NODES:-1} rank=${NODE_RANK:-0} host=${HOST:-127.0.0.1} port=${PORT:-29500}
processes=${PROCESSES:-$(python -c "import torch; print(max(1, torch.cuda.device_count()))")}

if [ "${LAUNCHER:-torchrun}" = accelerate ]; then
    launch=(accelerate launch --multi_gpu --mixed_precision no --dynamo_backend no
        --num_machines "$nodes" --machine_rank "$rank" --num_processes "$((nodes * processes))"
        --main_process_ip "$host" --main_process_port "$port")
elif [ "$nodes" = 1 ]; then
    launch=(torchrun --standalone --nproc_per_node "$processes")
else
    launch=(torchrun --nnodes "$nodes" --node_rank "$rank" --nproc_per_node "$processes"
        --master_addr "$host" --master_port "$port")
fi
exec "${launch[@]}" -m hf_ttr.evaluate --model "$model" --dataset "$dataset" --out "$out" "$@"
