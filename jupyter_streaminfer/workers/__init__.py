"""Where models compute: one small interface, one file a placement."""

from jupyter_streaminfer.workers.base import ModelBounds, ModelSpec, OnDeath, OnEvents, Worker
from jupyter_streaminfer.workers.thread import ThreadWorker

__all__ = ["ModelBounds", "ModelSpec", "OnDeath", "OnEvents", "ThreadWorker", "Worker"]
