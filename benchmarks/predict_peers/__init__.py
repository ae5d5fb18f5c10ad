"""The peers of ``predict.py``: one script each, which may run in another environment than this."""
