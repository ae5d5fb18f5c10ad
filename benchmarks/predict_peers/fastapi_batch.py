"""FastAPI's WebSocket with a micro-batcher, on uvicorn, uvloop and websockets."""

from __future__ import annotations

import asyncio

import uvicorn
from batching import Count, MicroBatcher, decode, options
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

chosen = options()
batcher = MicroBatcher(chosen.model, chosen.size, chosen.wait_ms)
app = FastAPI()


@app.websocket("/ws")
async def predictions(socket: WebSocket) -> None:
    await socket.accept()
    loop = asyncio.get_running_loop()
    try:
        while True:
            request = decode(await socket.receive_text())
            if isinstance(request, Count):
                await socket.send_text(batcher.count().decode())
                continue
            answer: asyncio.Future[bytes] = loop.create_future()
            batcher.submit(request, answer.set_result)
            await socket.send_text((await answer).decode())
    except WebSocketDisconnect:
        return


uvicorn.run(app, port=chosen.port, loop="uvloop", ws="websockets", log_level="error", ws_per_message_deflate=False)
