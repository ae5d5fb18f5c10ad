"""``%load_ext jupyter_streaminfer``: ``%%streaminfer MODEL`` asks a model what the cell says, ``%streaminfer`` looks
after models and streams.
"""

from jupyter_streaminfer.client.magics.magic import load, unload

__all__ = ["load", "unload"]
