"""The Jupyter face: an ExtensionApp whose handlers translate between HTTP or WebSocket and the engine."""
