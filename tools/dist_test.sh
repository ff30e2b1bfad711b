#!/usr/bin/env bash
# Test a checkpoint with several processes, one per GPU; the metrics are those of one process.
#
#   tools/dist_test.sh configs/resnet20_bas_digits.py work_dirs/two/epoch_40.pth 2
#
# Several machines: run it on each, with NNODES, NODE_RANK and MASTER_ADDR (of machine 0) set.
# Two jobs on one machine: give the second another PORT.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [ARGUMENTS OF tools/test.py]" >&2
    exit 2
fi
config=$1 checkpoint=$2 gpus=$3
shift 3
tools=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$(dirname "$tools")${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$tools/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
