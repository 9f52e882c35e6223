"""`comp serve`: answer `/rerank` with an exported folder."""

import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from competition.cli.app import app
from competition.cli.output import help_epilog
from competition.core.console import console
from competition.core.errors import InputError
from competition.core.workspace import Workspace


@app.command(
    epilog=help_epilog(
        "comp serve model",
        "comp serve model --form int8-dynamic --port 80",
        "comp serve model --search work",
    )
)
def serve(
    folder: Annotated[Path, typer.Argument(help="A folder that `comp export` wrote.")],
    form: Annotated[
        str,
        typer.Option(help="`torch`, or `onnx`, `int8-dynamic`, `int8-static` where it has them."),
    ] = "torch",
    search: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Let the page search the products of this workspace, by BM25."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="The port to listen on.")] = 8080,
    documents: Annotated[
        int, typer.Option(min=1, help="The largest number of documents of a request.")
    ] = 500,
    body: Annotated[int, typer.Option(min=1_000, help="The largest request in bytes.")] = 2_000_000,
    waiting: Annotated[
        int, typer.Option(min=1, help="How many requests may wait; the next gets status 429.")
    ] = 64,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="How long a request waits for its turn.")
    ] = 30.0,
) -> None:
    """Answer HTTP requests with an exported folder.

    POST /rerank (the schema of Jina and Cohere) and /score, GET /health and /metrics, and a page at
    / to try it, on products that are pasted or, with --search, found. It has no authentication: put
    it behind a server that has.
    """
    from competition.models.exported.folder import is_exported
    from competition.pipeline.folder_scorer import FolderScorer
    from competition.pipeline.serving.catalogue import Catalogue
    from competition.pipeline.serving.limits import Limits
    from competition.pipeline.serving.server import make_app

    if not is_exported(folder):
        raise InputError(
            f"{folder} is not a folder that `comp export` wrote: write one with `comp export RUN {folder}`."
        )
    try:
        import uvicorn
    except ImportError:
        raise InputError(
            "Serving needs uvicorn, which is not installed: `pip install comp-relevance[serve]`."
        ) from None

    # Taken before the model is loaded; nobody is let in until it is.
    listener = _bind(host, port)
    scorer = FolderScorer(folder, form)
    catalogue = None
    if search is not None:
        catalogue = Catalogue.open(Workspace.open(search), scorer.card.fields)
        console.print(f"{len(catalogue):,} products of {search} can be searched")
    server = make_app(scorer, Limits(documents, body, waiting, seconds), catalogue)
    console.print(f"{folder} answers at http://{host}:{port} (Ctrl-C ends it)")
    config = uvicorn.Config(server, log_level="warning", server_header=False)
    with suppress(KeyboardInterrupt):  # it has answered what was under way
        uvicorn.Server(config).run(sockets=[listener])


def _bind(host: str, port: int) -> socket.socket:
    """Return a socket of an address; raises InputError where the address cannot be had."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"Nothing can listen at {host}:{port} ({error.strerror}): choose another --port or --host."
        ) from None
    return listener
