"""Blocks of the KV cache: who has which, and which hold a prefix that others may share.

The prefix cache is a tree of full blocks. A block is found below the very block that it was computed after, by its
token ids, which are compared themselves and not by a hash alone: what is found was computed for exactly these tokens.
A block that leaves the tree takes all below it along, so nothing is ever found through it again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

BLOCK_TOKENS = 16
"""Positions of one sequence that a block holds."""


@dataclass(slots=True, eq=False)
class _Node:
    """A registered block, below the block that holds the tokens before its own."""

    block: int
    tokens: tuple[int, ...]
    parent: _Node | None
    children: dict[tuple[int, ...], _Node] = field(default_factory=dict)


class Blocks:
    """``count`` blocks, each free, used by one sequence or more, or idle: without a user, but registered.

    Idle blocks are evicted when no free one is left, the least recently used first and a sequence's tail before its
    head. ``salt`` names the weights; what was computed with others is never found.
    """

    def __init__(self, count: int, salt: str = "") -> None:
        self.count = count
        self.salt = salt
        self.tokens_asked = 0
        """Tokens of the sequences that began, and so were looked up."""
        self.tokens_found = 0
        """Those of them that were in the cache."""
        self._free = list(range(count - 1, -1, -1))
        self._idle: OrderedDict[int, _Node] = OrderedDict()
        """Least recently used first."""
        self._users = [0] * count
        self._nodes: list[_Node | None] = [None] * count
        """Where each full block's content is in the tree: the node is another block's if that was registered first."""
        self._root = _Node(-1, (), None)

    @property
    def available(self) -> int:
        """Blocks that can be taken: free or idle."""
        return len(self._free) + len(self._idle)

    @property
    def used(self) -> int:
        return self.count - self.available

    def find(self, token_ids: list[int]) -> list[int]:
        """The registered blocks of the longest prefix; one token at least is left over, for it must be computed."""
        found: list[int] = []
        node = self._root
        for start in range(0, len(token_ids) - BLOCK_TOKENS, BLOCK_TOKENS):
            child = node.children.get(tuple(token_ids[start : start + BLOCK_TOKENS]))
            if child is None:
                break
            found.append(child.block)
            node = child
        return found

    def share(self, blocks: list[int]) -> None:
        """Count one user more of blocks that were found just now."""
        for block in blocks:
            if not self._users[block]:
                del self._idle[block]
            self._users[block] += 1

    def take(self, count: int) -> list[int] | None:
        """That many blocks for one user, to be written; None, and nothing taken, when so many are not available."""
        if count > self.available:
            return None
        taken: list[int] = []
        for _ in range(count):
            if not self._free:
                self._unregister(next(iter(self._idle.values())))
            block = self._free.pop()
            self._users[block] = 1
            taken.append(block)
        return taken

    def register(self, blocks: list[int], token_ids: list[int], start: int, stop: int) -> None:
        """Let others find a sequence's ``blocks[start:stop]``, which are computed in full and not written any more.

        A block whose like is registered already stays its sequence's own, and what follows it is registered below its
        like. Nothing is registered after a block that was discarded.
        """
        node = self._nodes[blocks[start - 1]] if start else self._root
        if node is None or (start and self._nodes[node.block] is not node):
            return
        for index in range(start, stop):
            tokens = tuple(token_ids[index * BLOCK_TOKENS : (index + 1) * BLOCK_TOKENS])
            child = node.children.get(tokens)
            if child is None:
                child = node.children[tokens] = _Node(blocks[index], tokens, node)
            self._nodes[blocks[index]] = node = child

    def give_back(self, blocks: list[int]) -> None:
        """Count one user less of a sequence's blocks, given in its order."""
        for block in reversed(blocks):
            self._users[block] -= 1
            if self._users[block]:
                continue
            node = self._nodes[block]
            if node is not None and node.block == block:
                self._idle[block] = node
            else:
                self._nodes[block] = None
                self._free.append(block)

    def discard(self, blocks: list[int]) -> list[int]:
        """Give back the blocks of a broken sequence, and let nobody find them or anything computed after them.

        Returns what became free by it: whatever a block held must not reach who takes it next. A block that others use
        too is not among them.
        """
        kept = len(self._free)
        for block in blocks:
            node = self._nodes[block]
            if node is not None and node.block == block:
                self._unregister(node)
        self.give_back(blocks)
        return self._free[kept:]

    def reset(self, salt: str) -> None:
        """Forget what other weights than ``salt`` names computed; `RuntimeError` while blocks are in use."""
        if self.used:
            raise RuntimeError(f"the weights change while {self.used} blocks are in use")
        if salt != self.salt:
            self.salt = salt
            for node in list(self._root.children.values()):
                self._unregister(node)

    def check_idle(self) -> None:
        """Raise `RuntimeError` when a block has a user, or is lost to all: neither used nor free nor idle."""
        users = self.count - self._users.count(0)
        if users or self.used:
            raise RuntimeError(f"not idle: {users} blocks have users, and {self.used} of {self.count} cannot be taken")

    def _unregister(self, node: _Node) -> None:
        """Take a block out of the tree with all below it; those without a user become free."""
        if node.parent is not None:
            del node.parent.children[node.tokens]
        nodes = [node]
        while nodes:
            node = nodes.pop()
            nodes += node.children.values()
            node.children.clear()
            node.parent = None
            self._nodes[node.block] = None
            if node.block in self._idle:
                del self._idle[node.block]
                self._free.append(node.block)
