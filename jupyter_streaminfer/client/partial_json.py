"""JSON that is still being written, as the value that it is so far."""

from __future__ import annotations

from typing import Any

import jiter

from jupyter_streaminfer.protocol import StreaminferError

CUT = "EOF while parsing"
"""How jiter's errors begin where the text may still become JSON."""


def partial_json(text: str) -> Any:
    """The value of a JSON text of which only the beginning may be there.

    Strings are as long as they are so far, and so are numbers; what cannot be a value yet (``tru``, ``1.``, a key
    alone) is left out. None before the first value. Raises `StreaminferError` for what begins no JSON text.
    """
    data = text.encode(errors="surrogatepass")
    try:
        return jiter.from_json(data, allow_inf_nan=False)
    except ValueError as error:
        if not str(error).startswith(CUT):
            raise StreaminferError(
                "invalid_request",
                f"The stream's text is no JSON: {error}. Ask the model for JSON alone, or read stream.text.",
            ) from None
    try:
        return jiter.from_json(data, allow_inf_nan=False, partial_mode="trailing-strings")
    except ValueError:
        return None
