"""`torchrun` that listens on loopback only: `python -m cc_tuning.training.torchrun --rdzv-backend loopback ...`.

torchrun's own rendezvous store listens on every interface of the machine, whatever address it is given. All ranks of a
run are on one machine, so this one is bound to 127.0.0.1, on a port that the kernel picks when it is bound (a port that
is first looked for and then used can be taken in between).
"""

import socket
from datetime import timedelta

from torch.distributed import PrefixStore, TCPStore
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)
from torch.distributed.elastic.rendezvous.static_tcp_rendezvous import StaticTCPRendezvous
from torch.distributed.run import main

BACKEND = "loopback"
LOOPBACK = "127.0.0.1"


class LoopbackRendezvous(StaticTCPRendezvous):
    """torchrun's static rendezvous of one machine with itself."""

    def __init__(self, run_id: str, timeout_seconds: int = 600) -> None:
        listening = socket.create_server((LOOPBACK, 0))
        port = listening.getsockname()[1]
        super().__init__(LOOPBACK, port, rank=0, world_size=1, run_id=run_id, timeout=timeout_seconds)
        # The store takes the socket over, so Python must not close it.
        self._server = TCPStore(
            LOOPBACK,
            port,
            world_size=1,
            is_master=True,
            timeout=timedelta(seconds=timeout_seconds),
            multi_tenant=True,
            master_listen_fd=listening.detach(),
            use_libuv=True,
        )

    def get_backend(self) -> str:
        return BACKEND

    def next_rendezvous(self) -> RendezvousInfo:
        store = PrefixStore(self.run_id, self._server)
        return RendezvousInfo(store, 0, 1, RendezvousStoreInfo(self.master_addr, self.master_port))


def create_handler(parameters: RendezvousParameters) -> RendezvousHandler:
    """What the registry calls."""
    return LoopbackRendezvous(parameters.run_id)


if __name__ == "__main__":
    rendezvous_handler_registry.register(BACKEND, create_handler)
    main()
