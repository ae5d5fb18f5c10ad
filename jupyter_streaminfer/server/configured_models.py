"""The option ``models``: what a configuration file says of a model, checked like a request to load one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from traitlets import Dict, TraitError, Unicode

from jupyter_streaminfer.protocol import LoadModel


class Models(Dict):
    """The fields of a `LoadModel` by the model's name, which is none of them."""

    def __init__(self, **metadata: Any) -> None:
        super().__init__(key_trait=Unicode(), value_trait=Dict(), **metadata)

    def validate(self, obj: Any, value: Any) -> Any:
        """The same; raises `TraitError` for what could not be loaded."""
        value = super().validate(obj, value)
        load_requests(value)
        return value


def load_requests(models: Mapping[str, Mapping[str, Any]]) -> dict[str, LoadModel]:
    """What to load, by name; raises `TraitError` that names the model and the field."""
    requests = {}
    for name, fields in models.items():
        try:
            requests[name] = msgspec.convert({**fields, "name": name}, LoadModel)
        except msgspec.ValidationError as error:
            raise TraitError(f"StreaminferApp.models: {name!r}: {error}.") from None
    return requests
