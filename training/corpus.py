"""The prose that every Python installation carries, as training documents.

Three sources: ``pydoc_data.topics`` (the language reference's topics), the docstrings of the standard
library, read from its sources with ``ast`` and, for C modules, from the imported objects, and the
comments of those sources that run to a paragraph. Nothing is downloaded and nothing but the C modules
is imported.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

SKIPPED_FOLDERS = {"test", "tests", "site-packages", "idlelib", "lib2to3", "turtledemo", "__pycache__", "ensurepip"}
MINIMUM_CHARACTERS = 60
MINIMUM_COMMENT_LINES = 3


@dataclass(frozen=True)
class Document:
    """One text with the name it explains; ``signature`` is empty where there is none."""

    name: str
    text: str
    signature: str = ""

    @property
    def held_out(self) -> bool:
        """Whether this document is kept away from training: 3 % of all, chosen by a hash of its text."""
        return hashlib.sha256(self.text.encode()).digest()[0] < 8

    @property
    def plain(self) -> str:
        return f"{self.name}{self.signature}\n\n{self.text}"


def topic_documents() -> Iterator[Document]:
    """The language reference's topics, cut at blank lines into pieces of a few kilobytes."""
    for name, text in topics.items():
        piece: list[str] = []
        for paragraph in text.split("\n\n"):
            piece.append(paragraph)
            if sum(map(len, piece)) > 3000:
                yield Document(name, inspect.cleandoc("\n\n".join(piece)))
                piece = []
        if piece:
            yield Document(name, inspect.cleandoc("\n\n".join(piece)))


def source_documents() -> Iterator[Document]:
    """Docstrings and paragraphs of comments from every Python source of the standard library."""
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        relative = path.relative_to(library)
        if SKIPPED_FOLDERS & set(relative.parts[:-1]) or "config-" in relative.parts[0]:
            continue
        module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        try:
            tree = ast.parse(path.read_text("utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        yield from _node_documents(tree, module)
        for text in _comment_paragraphs(path):
            yield Document(f"{module} (notes)", text)


def _comment_paragraphs(path: Path) -> Iterator[str]:
    """Runs of whole-line comments that read like prose: three lines or more, mostly letters."""
    block: list[str] = []
    row = 0
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.COMMENT and token.line.strip().startswith("#"):
                if token.start[0] != row + 1:
                    yield from _prose(block)
                    block = []
                block.append(token.string.lstrip("#"))
                row = token.start[0]
    yield from _prose(block)


def _prose(lines: list[str]) -> Iterator[str]:
    text = inspect.cleandoc("\n".join(lines))
    letters = sum(character.isalpha() or character.isspace() for character in text)
    if len(lines) >= MINIMUM_COMMENT_LINES and letters > 0.85 * len(text):
        yield text


def _node_documents(node: ast.AST, name: str) -> Iterator[Document]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node)
        if text:
            signature = f"({ast.unparse(node.args)})" if isinstance(node, ast.FunctionDef) else ""
            yield Document(name, text, signature)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _node_documents(child, f"{name}.{child.name}")


def extension_documents() -> Iterator[Document]:
    """The docstrings of the modules that are written in C."""
    library = Path(sysconfig.get_path("stdlib"))
    compiled = {path.name.split(".")[0] for path in (library / "lib-dynload").glob("*.so")}
    for module_name in sorted((compiled | set(sys.builtin_module_names)) & sys.stdlib_module_names):
        if "test" in module_name:
            continue
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            continue
        name = module_name.lstrip("_")
        yield from _object_documents(module, name, 0)


def _object_documents(value: object, name: str, depth: int) -> Iterator[Document]:
    text = inspect.getdoc(value)
    if text:
        yield Document(name, text)
    if depth == 2:
        return
    for attribute, member in sorted(vars(value).items()):
        public = not attribute.startswith("_")
        if (
            public
            and (inspect.isclass(member) or inspect.isroutine(member))
            and hasattr(member, "__dict__") | inspect.isroutine(member)
        ):
            if inspect.isclass(member):
                yield from _object_documents(member, f"{name}.{attribute}", depth + 1)
            elif doc := inspect.getdoc(member):
                yield Document(f"{name}.{attribute}", doc)


def documents() -> list[Document]:
    """Every distinct document, in a fixed order."""
    seen: set[str] = set()
    found = []
    for source in (topic_documents, source_documents, extension_documents):
        for document in source():
            key = " ".join(document.text.split())
            if len(key) >= MINIMUM_CHARACTERS and key not in seen:
                seen.add(key)
                found.append(document)
    return found


if __name__ == "__main__":
    every = documents()
    held = [document for document in every if document.held_out]
    characters = sum(len(document.text) for document in every)
    print(f"{len(every)} documents, {characters:,} characters; {len(held)} documents are held out")
