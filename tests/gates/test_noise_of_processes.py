"""Several processes with one seed draw different gate noise, and the same when seeded again."""

import os
import subprocess
import sys

import torch

WORKER = """
import sys
import torch
import torch.distributed as dist
from mmbas.gates import ChannelGate

rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
runs = []
for _ in range(2):
    torch.manual_seed(0)  # what mmengine does in every process by default
    gate, x = ChannelGate(8, 64), torch.randn(32, 8, 4, 4)
    runs.append([gate(x) for _ in range(3)])
outputs = [[(output.logits.detach(), output.gates.detach()) for output in run] for run in runs]
torch.save(outputs, f"{folder}/{rank}.pth")
dist.barrier()
"""


def test_gate_noise_differs_between_processes_of_one_seed_and_repeats(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(rank), str(tmp_path)], env=environment)
        for rank in range(2)
    ]
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pth") for rank in range(2))
    for run in range(2):
        for (logits, gates), (other_logits, other_gates) in zip(
            first[run], second[run], strict=True
        ):
            assert torch.equal(logits, other_logits)
            agreement = (gates == other_gates).float().mean()
            assert 0.4 < agreement < 0.65  # logits near 0: independent gates agree half the time
    for process in (first, second):
        gates = [[gates for _, gates in run] for run in process]
        assert all(torch.equal(a, b) for a, b in zip(*gates, strict=True))
        assert not torch.equal(gates[0][0], gates[0][1])
        assert 0.4 < torch.stack(gates[0]).mean() < 0.6
