"""The rooms of docs/architecture.md and who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "jupyter_streaminfer"

MAY_IMPORT = {
    "protocol": set(),
    "inference": {"protocol"},
    "workers": {"protocol", "inference"},
    "engine": {"protocol", "workers"},
    "server": {"protocol", "engine"},
    "client": {"protocol"},
    "widgets": {"protocol", "client"},
}
EXCEPTIONS = {
    ("client/embedded.py", "engine"): "the engine in the client's own process",
    ("client/embedded_store.py", "engine"): "its store, as a type",
    ("client/publish.py", "inference"): "the writer of a module's files, imported when one is published",
    ("client/stream.py", "widgets"): "a stream's display, imported when it is shown",
    ("client/widget_calls.py", "widgets"): "the widgets of a client, imported when one is made",
}


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at the top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(module: str) -> str | None:
    """The room of ours that a module belongs to."""
    parts = module.split(".")
    return parts[1] if parts[0] == "jupyter_streaminfer" and len(parts) > 1 and parts[1] in MAY_IMPORT else None


FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if "models" not in path.parts)


@pytest.mark.parametrize("file", [file for file in FILES if "/" in file])
def test_a_room_imports_only_what_it_may(file: str) -> None:
    own = file.split("/")[0].removesuffix(".py")
    for module in imported(PACKAGE / file):
        other = room(module)
        if other is not None and other != own and (file, other) not in EXCEPTIONS:
            assert other in MAY_IMPORT[own], f"{file} imports {module}"


@pytest.mark.parametrize("file", FILES)
def test_torch_is_imported_in_the_inference_room_alone(file: str) -> None:
    names = {module.split(".")[0] for module in imported(PACKAGE / file)}
    assert "torch" not in names or file.startswith("inference/")


def test_every_exception_is_still_needed() -> None:
    for (file, other), reason in EXCEPTIONS.items():
        assert other in {room(module) for module in imported(PACKAGE / file)}, f"no longer true: {reason}"


def test_importing_the_package_is_light() -> None:
    heavy = ["torch", "pandas", "matplotlib", "transformers", "ipywidgets", "jupyter_server"]
    program = f"import sys, jupyter_streaminfer; print([name for name in {heavy} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
