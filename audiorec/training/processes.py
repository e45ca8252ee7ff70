"""One process, or one of several that torchrun started, a GPU each where there are any."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Process:
    """number: 0 is the one that writes and talks."""

    number: int
    n_processes: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.number == 0

    def wait(self) -> None:
        """Until all processes are here."""
        if self.n_processes > 1:
            dist.barrier()

    def of_first(self, value: float) -> float:
        """The first process's value, in all of them."""
        if self.n_processes == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared)

    def any_of_us(self, wanted: bool) -> bool:
        """Whether any process wants it: the same answer in all of them."""
        if self.n_processes == 1:
            return wanted
        answer = torch.tensor(float(wanted), device=self.device)
        dist.all_reduce(answer, dist.ReduceOp.MAX)
        return bool(answer)


@contextmanager
def joined() -> Iterator[Process]:
    """Joins the others when torchrun started this process."""
    if not dist.is_torchelastic_launched():
        yield Process(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        return
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        process = Process(dist.get_rank(), dist.get_world_size(), device)
        yield process
        process.wait()  # nobody leaves, and ends the group, while the first still writes
    finally:
        dist.destroy_process_group()
