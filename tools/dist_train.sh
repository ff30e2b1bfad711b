#!/usr/bin/env bash
# Train with several processes, one per GPU; without GPUs the processes share the CPU.
#
#   tools/dist_train.sh configs/resnet20_bas_digits.py 2 --work-dir work_dirs/two
#
# Several machines: run it on each, with NNODES, NODE_RANK and MASTER_ADDR (of machine 0) set.
# Two jobs on one machine: give the second another PORT.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG GPUS [ARGUMENTS OF tools/train.py]" >&2
    exit 2
fi
config=$1 gpus=$2
shift 2
tools=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$(dirname "$tools")${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$tools/train.py" "$config" --launcher pytorch "$@"
