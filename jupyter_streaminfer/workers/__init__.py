"""Where models compute: one small interface, one file a placement."""

from jupyter_streaminfer.workers.base import ModelSpec, OnDeath, OnEvents, Worker
from jupyter_streaminfer.workers.thread import ThreadWorker

__all__ = ["ModelSpec", "OnDeath", "OnEvents", "ThreadWorker", "Worker"]
