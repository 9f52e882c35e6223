"""A server that listens on a port of its own for as long as a test needs it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from competition.pipeline.folder_scorer import FolderScorer
from competition.pipeline.serving.catalogue import Catalogue
from competition.pipeline.serving.server import make_app


@contextmanager
def listening(scorer: FolderScorer, catalogue: Catalogue | None = None) -> Iterator[str]:
    """Yield the address of a server of an exported folder, and perhaps of products to search."""
    import uvicorn

    ready = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            ready.set()

    server = Server(uvicorn.Config(make_app(scorer, None, catalogue), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(60)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
