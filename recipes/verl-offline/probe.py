"""What a run needs of a GPU machine, a line each, in a minute. Status 0: all is there.

. ./env.sh && python3 probe.py
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from typing import Any


def imports() -> str:
    took = []
    for name in ("torch", "transformers", "peft", "vllm", "ray", "verl.trainer.main_ppo"):
        started = time.perf_counter()
        importlib.import_module(name)
        version = importlib.metadata.version(name.partition(".")[0])
        took.append(f"{name} {version} {time.perf_counter() - started:.1f} s")
    return ", ".join(took)


def kernels() -> str:
    for name in ("_C_stable_libtorch", "_moe_C_stable_libtorch", "vllm_flash_attn._vllm_fa3_C", "cumem_allocator"):
        importlib.import_module(f"vllm.{name}")
    from vllm.platforms import current_platform

    return str(current_platform.get_device_name())


def sleep_mode() -> str:
    """vLLM gives memory back while the policy is updated."""
    import torch
    from vllm.device_allocator.cumem import CuMemAllocator

    pool = CuMemAllocator.get_instance()
    with pool.use_memory_pool(tag="weights"):
        held = torch.ones(1 << 28, dtype=torch.uint8, device="cuda")
    before = torch.cuda.mem_get_info()[0]
    pool.sleep(offload_tags=("weights",))
    freed = torch.cuda.mem_get_info()[0] - before
    pool.wake_up()
    assert int(held[123]) == 1, "memory came back with other contents"
    assert freed > 1 << 27, f"{freed} bytes were given back"
    return f"{freed >> 20} MiB given back"


def _read(queue: SimpleQueue[Any], back: SimpleQueue[int]) -> None:
    rebuild, arguments = queue.get()
    back.put(int(rebuild(*arguments).sum()))
    queue.get()


def cuda_ipc() -> str:
    """Weights go from the policy's process to vLLM's by CUDA IPC."""
    import torch
    import torch.multiprocessing as processes
    from torch.multiprocessing.reductions import reduce_tensor

    context = processes.get_context("spawn")
    queue, back = context.SimpleQueue(), context.SimpleQueue()
    child = context.Process(target=_read, args=(queue, back), daemon=True)
    child.start()
    tensor = torch.ones(1 << 20, dtype=torch.uint8, device="cuda")
    queue.put(reduce_tensor(tensor))  # type: ignore[no-untyped-call]
    deadline = time.monotonic() + 60
    while back.empty():
        if not child.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the other process did not answer")
        time.sleep(0.1)
    assert back.get() == 1 << 20, "the other process read something else"
    queue.put(None)
    return "read by another process"


def cluster() -> str:
    import ray

    ray.init(num_cpus=8, include_dashboard=False, object_store_memory=1 << 30, _node_ip_address="127.0.0.1")

    def device() -> str:
        import torch

        return torch.cuda.get_device_name()

    return str(ray.get(ray.remote(num_gpus=1)(device).remote(), timeout=120))


def check(name: str, what: Callable[[], str]) -> bool:
    started = time.perf_counter()
    try:
        print(f"ok    {name}: {what()} ({time.perf_counter() - started:.1f} s)", flush=True)
    except Exception as error:  # whatever it is, the next check still tells something
        print(f"FAIL  {name}: {type(error).__name__}: {str(error)[:600]}", flush=True)
        return False
    return True


if __name__ == "__main__":
    checks = {"imports": imports, "kernels": kernels, "sleep mode": sleep_mode, "CUDA IPC": cuda_ipc, "Ray": cluster}
    good = [check(name, what) for name, what in checks.items()]
    sys.stdout.flush()
    os._exit(not all(good))  # Ray's and CUDA's own exits can hang
