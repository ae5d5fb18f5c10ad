"""What one turn of the loop asks is handed over at once, in order."""

import asyncio

from jupyter_streaminfer.workers.turn import Turn


async def test_one_turns_items_are_one_delivery() -> None:
    delivered: list[list[int]] = []
    turn: Turn[int] = Turn(delivered.append)
    for number in range(3):
        turn.put(number)
    assert delivered == []
    await asyncio.sleep(0)
    assert delivered == [[0, 1, 2]]
    turn.put(3)
    await asyncio.sleep(0)
    assert delivered == [[0, 1, 2], [3]]


async def test_what_is_put_while_it_is_delivered_comes_next() -> None:
    delivered: list[list[int]] = []

    def deliver(items: list[int]) -> None:
        delivered.append(items)
        if items[0] < 2:
            turn.put(items[0] + 1)

    turn: Turn[int] = Turn(deliver)
    turn.put(0)
    for _ in range(3):
        await asyncio.sleep(0)
    assert delivered == [[0], [1], [2]]
