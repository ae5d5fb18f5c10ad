"""LitServe with its own batching, over HTTP: it has no WebSocket."""

from typing import Any

import litserve
from batching import MODELS, options
from fastapi import Request


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = MODELS[options().model]()

    def decode_request(self, request: Request) -> Any:  # by which FastAPI knows that the body is meant
        return request["inputs"][0]

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def predict(self, x: list[Any]) -> Any:
        return self.model.predict(x)

    def unbatch(self, output: Any) -> Any:
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"type": "result", "outputs": [output if isinstance(output, list) else _plain(output)]}


def _plain(prediction: Any) -> dict[str, Any]:
    scores = [{"label": each.label, "confidence": each.confidence} for each in prediction.scores]
    return {"label": prediction.label, "confidence": prediction.confidence, "scores": scores}


if __name__ == "__main__":
    chosen = options()
    api = Api(max_batch_size=chosen.size, batch_timeout=chosen.wait_ms / 1000)
    server = litserve.LitServer(api, accelerator="cpu", fast_queue=True)
    server.run(host="127.0.0.1", port=chosen.port, log_level="error", generate_client_file=False)
