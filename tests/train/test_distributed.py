"""Two processes train one network: other people each, the same weights everywhere, and a run that can be resumed."""

import os
import socket

import torch
from helpers.training import image_trainer, made, trainer
from torch import distributed as torch_distributed
from torch import multiprocessing

from hmrfit.train import distributed

STEPS = 3


def test_a_single_process_is_not_distributed():
    assert (distributed.world_size(), distributed.rank(), distributed.is_distributed()) == (1, 0, False)
    network = torch.nn.Linear(2, 2)
    assert distributed.data_parallel(network, torch.device("cpu")) is network
    assert distributed.gather("x") == ["x"] and distributed.equal_on_all_ranks(network.parameters())


def test_two_processes_keep_the_same_weights_and_go_on_exactly(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_process, (port, str(tmp_path)), nprocs=2)
    assert len(list(tmp_path.glob("passed*"))) == 2


def _process(rank: int, port: int, folder: str) -> None:
    """What each of the two does; an error here fails the test above."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch_distributed.init_process_group("gloo", rank=rank, world_size=2)
    whole = _own(rank)
    for _ in range(2 * STEPS):
        whole.train_step()
    assert distributed.equal_on_all_ranks([*whole.hmr.parameters(), *whole.discriminator.parameters()])
    assert not distributed.equal_on_all_ranks([whole.objective.stream.generator.get_state()])

    half = _own(rank)
    for _ in range(STEPS):
        half.train_step()
    half.save(f"{folder}/last.pt")
    torch_distributed.barrier()
    resumed = _own(rank)
    resumed.load(f"{folder}/last.pt")
    for _ in range(STEPS):
        resumed.train_step()
    assert all(torch.equal(a, b) for a, b in zip(whole.hmr.parameters(), resumed.hmr.parameters(), strict=True))

    image = image_trainer(made(rank), batch=8)
    image.train_step()
    assert distributed.equal_on_all_ranks([*image.hmr.parameters(), *image.discriminator.parameters()])
    torch_distributed.destroy_process_group()
    try:
        trainer().load(f"{folder}/last.pt")
    except ValueError as error:
        assert "left by 2 processes" in str(error)
        open(f"{folder}/passed{rank}", "w").close()


def _own(rank: int):
    """A run with this process's own people."""
    run = trainer(steps=2 * STEPS)
    run.objective.stream.generator.manual_seed(rank)
    return run
