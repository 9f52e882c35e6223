"""`comp serve`: answer `/rerank` with an exported folder."""

from pathlib import Path
from typing import Annotated

import typer

from competition.cli.app import app
from competition.cli.output import help_epilog
from competition.core.console import console
from competition.core.errors import InputError


@app.command(
    epilog=help_epilog("comp serve model", "comp serve model --form int8-dynamic --port 80")
)
def serve(
    folder: Annotated[Path, typer.Argument(help="A folder that `comp export` wrote.")],
    form: Annotated[
        str,
        typer.Option(help="`torch`, or `onnx`, `int8-dynamic`, `int8-static` where it has them."),
    ] = "torch",
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
    / to try it. It has no authentication: put it behind a server that has.
    """
    from competition.models.exported.folder import is_exported
    from competition.pipeline.folder_scorer import FolderScorer
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

    server = make_app(FolderScorer(folder, form), Limits(documents, body, waiting, seconds))
    console.print(f"{folder} answers at http://{host}:{port} (Ctrl-C ends it)")
    uvicorn.run(server, host=host, port=port, log_level="warning", server_header=False)
