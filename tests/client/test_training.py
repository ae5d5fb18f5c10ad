"""Training here and publishing after each epoch, while somebody else asks the server all the while."""

import copy
import threading
from typing import Any

import numpy as np
import torch
from torch import nn

from jupyter_streaminfer.client import Client, connect
from jupyter_streaminfer.protocol import StreaminferError

EPOCHS = 6
WAIT_S = 120


class Asker(threading.Thread):
    """Asks without a pause, and keeps every answer or the first error."""

    def __init__(self, client: Client, model: str, rows: Any) -> None:
        super().__init__(daemon=True)
        self.answers: list[tuple[str, Any]] = []
        self.error: StreaminferError | None = None
        self.changed = threading.Condition()
        self._client = client
        self._model = model
        self._rows = rows
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.is_set():
            try:
                answer = self._client.predict(self._model, self._rows)
            except StreaminferError as error:
                self.error = error
                return
            finally:
                with self.changed:
                    self.changed.notify_all()
            self.answers.append((answer.version, answer.array))

    def saw(self, version: str) -> bool:
        """Wait until an answer of that version came."""
        with self.changed:
            return self.changed.wait_for(
                lambda: self.error is not None or version in {each for each, _ in self.answers[-8:]}, WAIT_S
            )

    def stop(self) -> None:
        self._done.set()
        self.join(WAIT_S)


def test_a_model_is_published_after_each_epoch_while_it_is_asked(server_client: Client, server: Any) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(256, 8)
    targets = (inputs.sum(1) > 0).long()
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    rows = inputs[:5]
    published: dict[str, nn.Module] = {}

    def publish() -> str:
        status = server_client.publish("trained", net, inputs[:2], placement="thread", progress=False)
        published[status.version] = copy.deepcopy(net).eval()
        return status.version

    publish()
    with connect(server.url, server.token) as other:
        asker = Asker(other, "trained", rows)
        asker.start()
        for _ in range(EPOCHS):
            for batch in torch.randperm(256).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(inputs[batch]), targets[batch]).backward()
                optimizer.step()
            assert asker.saw(publish())
            assert net.training
        asker.stop()
    server_client.unload("trained")

    assert asker.error is None, asker.error
    versions = [version for version, _ in asker.answers]
    assert set(versions) == set(published)
    assert len(published) == EPOCHS + 1
    assert versions == sorted(versions, key=int), "once a version answered, the one before does not any longer"
    with torch.no_grad():
        wanted = {version: each(rows).numpy() for version, each in published.items()}
    for version, array in asker.answers:
        assert np.allclose(array, wanted[version], atol=1e-5), f"not what version {version} says"
