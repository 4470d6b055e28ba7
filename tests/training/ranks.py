"""Processes that are the ranks of a training, as a launcher would start them."""

import os
import socket
from collections.abc import Callable

import torch
from torch.multiprocessing.spawn import spawn


def on_ranks(count: int, worker: Callable[..., None], *arguments: object) -> None:
    """``worker(rank, *arguments)`` on every rank, each in its process, until all are done."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn(_rank, args=(count, port, worker, arguments), nprocs=count)


def _rank(rank: int, count: int, port: int, worker: Callable[..., None], arguments: tuple[object, ...]) -> None:
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    os.environ.update(places, RANK=str(rank), LOCAL_RANK=str(rank), NODE_RANK="0", WORLD_SIZE=str(count))
    torch.set_num_threads(1)
    worker(rank, *arguments)
