"""The magics, in a shell of IPython's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from tiny_models import ENDLESS

from jupyter_streaminfer.client import Client, ClientStream
from jupyter_streaminfer.client.magics.words import split
from jupyter_streaminfer.client.status import ModelTable
from jupyter_streaminfer.client.stream_table import StreamTable
from jupyter_streaminfer.engine.folder import BUNDLED
from jupyter_streaminfer.protocol import Metrics, ModelStatus

WAIT_S = 60


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    shell = InteractiveShell()
    shell.history_manager.enabled = False
    shell.Completer.use_jedi = False
    shell.extension_manager.load_extension("jupyter_streaminfer")
    yield shell
    shell.extension_manager.unload_extension("jupyter_streaminfer")


@pytest.fixture
def run(shell: InteractiveShell, embedded_client: Client) -> Callable[[str], Any]:
    """Runs a cell, and returns its result."""
    shell.user_ns["client"] = embedded_client

    def run(cell: str) -> Any:
        result = shell.run_cell(cell, store_history=False)
        assert result.success, result.error_in_exec
        return result.result

    return run


@pytest.fixture
def refuse(shell: InteractiveShell, run: Any, capfd: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Runs a cell that is refused, and returns all that is said."""

    def refuse(cell: str) -> str:
        capfd.readouterr()
        assert not shell.run_cell(cell, store_history=False).success
        said = capfd.readouterr()
        return said.out + said.err

    return refuse


def test_a_cell_is_the_prompt(run: Callable[[str], Any], shell: InteractiveShell, embedded_client: Client) -> None:
    options = "--max-tokens 12 --seed 3 --temperature 0.7 --top-p 0.9 --ignore-eos --logprobs 2"
    run(f'%%streaminfer tiny {options} --stop "zebra zebra"\nThe {{quick}} $brown\nfox\n')
    stream = shell.user_ns["_stream"]
    assert isinstance(stream, ClientStream)
    request = stream.request
    assert request.prompt == "The {quick} $brown\nfox"
    assert (request.max_tokens, request.seed, request.temperature, request.top_p) == (12, 3, 0.7, 0.9)
    assert request.stop == ["zebra zebra"]
    assert len(stream.wait(WAIT_S).logprobs) == 12
    again = embedded_client.generate(
        "tiny", request.prompt, max_tokens=12, seed=3, temperature=0.7, top_p=0.9, ignore_eos=True
    )
    assert again.wait(WAIT_S).text == stream.text


def test_the_result_has_the_name_that_was_asked_for(run: Callable[[str], Any], shell: InteractiveShell) -> None:
    run("%%streaminfer tiny --max-tokens 1 --out answer\nThe")
    assert shell.user_ns["answer"].request.max_tokens == 1


def test_a_prompt_on_one_line(run: Callable[[str], Any], shell: InteractiveShell) -> None:
    run("%streaminfer generate tiny 'The quick fox' --max-tokens 1 --out said")
    assert shell.user_ns["said"].request.prompt == "The quick fox"


def test_expressions_only_where_they_are_asked_for(run: Callable[[str], Any], shell: InteractiveShell) -> None:
    shell.user_ns["words"] = ["quick", "brown"]
    run("%%streaminfer tiny --max-tokens 1 --format\nThe {' '.join(words)} {{fox}} $words")
    assert shell.user_ns["_stream"].request.prompt == "The quick brown {fox} $words"


def test_variables_in_the_line_as_in_any_magic(run: Callable[[str], Any], shell: InteractiveShell) -> None:
    shell.user_ns["which"] = "tiny"
    run("%%streaminfer $which --max-tokens {1 + 1}\nThe")
    assert shell.user_ns["_stream"].request.max_tokens == 2


def test_models(run: Callable[[str], Any]) -> None:
    assert {model.name for model in run("%streaminfer models")} >= {"tiny", "digits"}
    assert isinstance(run("%streaminfer models"), ModelTable)
    loaded = run(f"%streaminfer load spare '{BUNDLED / 'digits'}' --placement thread --pinned")
    assert isinstance(loaded, ModelStatus)
    assert loaded.pinned
    assert run("%streaminfer swap spare --version next").version == "next"
    assert run("%streaminfer rollback spare").version == "1"
    assert run("%streaminfer activate spare next").latest
    run("%streaminfer unload spare")
    assert "spare" not in {model.name for model in run("%streaminfer models") if model.state == "ready"}


def test_streams_and_cancel(run: Callable[[str], Any], embedded_client: Client) -> None:
    stream = embedded_client.generate("tiny", "The", max_tokens=ENDLESS, ignore_eos=True)
    listed = run("%streaminfer streams")
    assert isinstance(listed, StreamTable)
    assert stream.id in {status.stream for status in listed}
    run(f"%streaminfer cancel {stream.id}")
    assert stream.wait(WAIT_S).state == "cancelled"


def test_how_the_engine_is(run: Callable[[str], Any]) -> None:
    said = repr(run("%streaminfer"))
    assert said.startswith("engine in this process: ok")
    assert "<tiny@1: ready" in said
    assert isinstance(run("%streaminfer metrics"), Metrics)
    assert run("%streaminfer alerts") == []


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("%%streaminfer nope\nThe", "loaded: "),
        ("%%streaminfer tiny --temperature -1\nThe", "temperature"),
        ("%%streaminfer tiny --temperature hot\nThe", "invalid float value: 'hot'"),
        ("%%streaminfer tiny\n\n", "The prompt is missing"),
        ("%%streaminfer\nThe", "required: MODEL"),
        ("%%streaminfer tiny --out 1x\nThe", "no name of a variable"),
        ("%%streaminfer tiny --format\nThe {nothing_of_that_name}", "NameError"),
        ("%%streaminfer tiny --format\nThe {", "{{ stands for a brace"),
        ("%%streaminfer tiny --stop 'open\nThe", "No closing quotation"),
        ("%%streaminfer digits --chat\nThe", "generates no text"),
        ("%streaminfer generate tiny The --system 'Be brief'", "no chat template"),
        ("%streaminfer nonsense", "invalid choice: 'nonsense'"),
        ("%streaminfer cancel st_nowhere", "no stream"),
        ("%streaminfer rollback tiny", "no version"),
        ("%streaminfer load", "required: NAME"),
        ("%streaminfer load x /nowhere/at/all", "/nowhere/at/all"),
    ],
)
def test_an_error_is_one_line(cell: str, says: str, refuse: Callable[[str], str]) -> None:
    said = refuse(cell).strip()
    assert says in said
    assert said.startswith("UsageError: ")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("%streaminfer --help", "rollback"),
        ("%streaminfer load --help", "PATH"),
        ("%streaminfer generate --help", "--max-tokens"),
        ("%%streaminfer --help\nThe", "--max-tokens"),
    ],
)
def test_help(cell: str, says: str, run: Callable[[str], Any], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cell) is None
    assert says in capfd.readouterr().out


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_tab_offers_what_may_follow(run: Callable[[str], Any], shell: InteractiveShell) -> None:
    def offered(line: str) -> list[str]:
        return list(shell.complete(line.split(" ")[-1], line)[1])

    run("%streaminfer models")
    assert offered("%streaminfer roll") == ["rollback"]
    assert "tiny" in offered("%streaminfer swap ti")
    assert "--pinned" in offered("%streaminfer load x --pi")
    assert "tiny" in offered("%%streaminfer ti")
    assert "--max-tokens" in offered("%%streaminfer tiny --max")


def test_without_a_client_the_magics_find_one(shell: InteractiveShell, no_server: Any, embedded_client: Client) -> None:
    shell.user_ns["client"] = "no client"
    result = shell.run_cell("%streaminfer models", store_history=False).result
    assert {model.name for model in result} >= {"tiny"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("a 'b c'  d", ["a", "b c", "d"]),
        ('--stop "#x" --stop ""', ["--stop", "#x", "--stop", ""]),
        ("x;y | z", ["x;y", "|", "z"]),
    ],
)
def test_words(line: str, words: list[str]) -> None:
    assert split(line) == words
