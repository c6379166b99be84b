"""What every process of a group does with tensors of the device; started by test_device.py."""

from __future__ import annotations

import pytest
import torch
from torch import distributed

assert distributed.get_default_backend_for_device("standin") == "standin_gloo"
distributed.init_process_group("cpu:gloo,standin:standin_gloo")
rank, size = distributed.get_rank(), distributed.get_world_size()


def mine(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float32, device="standin") + rank


total = mine(1, 2)
distributed.all_reduce(total)
assert total.tolist() == [3, 5]

work = distributed.all_reduce(total, async_op=True)
work.wait()
assert total.tolist() == [6, 10]

parts = [mine(0) for _ in range(size)]
distributed.all_gather(parts, mine(7))
assert [part.item() for part in parts] == [7, 8]

joined = torch.empty(size, device="standin")
distributed.all_gather_into_tensor(joined, mine(7))
assert joined.tolist() == [7, 8]

sent = mine(4)
distributed.broadcast(sent, src=1)
assert sent.item() == 5

share = torch.empty(1, device="standin")
distributed.reduce_scatter_tensor(share, mine(10, 20))
assert share.item() == (21 if rank == 0 else 41)

objects: list[object] = [None] * size
distributed.all_gather_object(objects, {"rank": rank})
assert objects == [{"rank": 0}, {"rank": 1}]

host = torch.ones(2)
distributed.all_reduce(host)
assert host.tolist() == [2, 2]
distributed.barrier()

gloo = distributed.new_group(backend="gloo")
with pytest.raises(RuntimeError, match="No backend type associated with device type standin"):
    distributed.all_reduce(total, group=gloo)
distributed.destroy_process_group()
print(f"rank {rank} is done")
