"""The event loop beneath the Jupyter server, which has one before it knows of any extension."""

from __future__ import annotations

import asyncio


def use_uvloop() -> None:
    """Run the server on uvloop, whose sockets cost a fraction of asyncio's own.

    To be called in ``jupyter_server_config.py``, which the server reads just before it makes its loop. Raises
    `ImportError` where uvloop is not installed (``pip install jupyter_streaminfer[fast]``; there is none for Windows).
    """
    import uvloop

    asyncio.set_event_loop(uvloop.new_event_loop())
