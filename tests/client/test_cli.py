"""``jupyter streaminfer``: as a subprocess where a terminal is what matters, else in this process."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import ENDLESS

from jupyter_streaminfer.client import Client
from jupyter_streaminfer.client.cli import main
from jupyter_streaminfer.engine.folder import BUNDLED

from .server_process import JupyterServer, clean_environment

WAIT_S = 60


@pytest.fixture
def environ(server: JupyterServer, server_client: Client) -> dict[str, str]:
    """A terminal that finds the server by its runtime file."""
    return clean_environment(server.runtime)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """The bundled classifier's files, in a folder that is nobody else's."""
    return Path(shutil.copytree(BUNDLED / "digits", tmp_path / "digits"))


def command(environ: dict[str, str], *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "jupyter_streaminfer", *arguments],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(environ: dict[str, str], *arguments: str, status: int = 0, stdin: str | None = None) -> tuple[str, str]:
    process = command(environ, *arguments)
    out, err = process.communicate(stdin, timeout=WAIT_S)
    assert process.returncode == status, (out, err)
    return out, err


@pytest.fixture
def here(server: JupyterServer, server_client: Client, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The same in this process, which takes no second to start; returns what it printed, one stream after the other."""

    def here(name: str, *arguments: str, status: int = 0) -> str:
        given = main([name, "--url", server.url, "--token", server.token, *arguments])
        captured = capsys.readouterr()
        assert given == status, captured
        return captured.out + captured.err

    return here


def test_models_and_streams(environ: dict[str, str], server_client: Client) -> None:
    out, _ = run(environ, "models")
    header, *lines = (line.split() for line in out.splitlines())
    assert header[:4] == ["NAME", "VERSION", "STATE", "TASK"]
    assert {("tiny", "1*", "ready", "generate"), ("digits", "1*", "ready", "predict")} <= {
        tuple(each[:4]) for each in lines
    }
    stream = server_client.generate("tiny", "The", max_tokens=4, ignore_eos=True).wait(WAIT_S)
    out, _ = run(environ, "streams")
    assert [stream.id, "tiny", "completed"] in [line.split()[:3] for line in out.splitlines()]


def test_load_and_unload(environ: dict[str, str], server_client: Client, tiny_llama: Path) -> None:
    out, _ = run(environ, "load", "another", "--path", str(tiny_llama), "--placement", "thread")
    assert out.startswith("another is ready")
    assert server_client.model("another").placement == "thread"
    assert server_client.model("another").state == "ready"
    run(environ, "unload", "another")
    assert "another" not in {model.name for model in server_client.models()}


def test_a_model_from_version_to_version(here: Callable[..., str], digits: Path) -> None:
    place = ["--path", str(digits), "--placement", "thread"]
    here("load", "net", *place, "--version", "a", "--pinned")
    assert here("swap", "net", *place, "--version", "b").endswith("(version b)\n"), "no bar where no terminal is"
    assert "not the latest" in here("swap", "net", *place, "--version", "c", "--stand-by")
    here("activate", "net", "c")
    assert here("rollback", "net").endswith("(version b)\n")
    assert ["net", "b*", "ready,", "pinned"] in [line.split()[:4] for line in here("models").splitlines()]
    here("configure", "net", "--no-pinned", "--max-wait-ms", "1", "--preferred-batch-sizes", "4,8")
    assert ["net", "b*", "ready", "predict"] in [line.split()[:4] for line in here("models").splitlines()]
    here("unload", "net")


def test_a_route(here: Callable[..., str], digits: Path) -> None:
    place = ["--path", str(digits), "--placement", "thread"]
    here("load", "split", *place)
    here("swap", "split", *place, "--stand-by")
    out = here("route", "split", "1=0.75", "2=0.25")
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [["1", "arm", "75.0%"], ["2", "arm", "25.0%"]]
    assert here("route", "split") == out
    assert "sum to" in here("route", "split", "1=0.5", "2=0.25", status=1)
    here("route", "split", "--off")
    here("unload", "split")


def test_files_go_up_and_come_down(here: Callable[..., str], digits: Path, tmp_path: Path) -> None:
    out = here("upload", "stored", str(digits), "--swap")
    assert out.startswith("stored 1: 2 files"), "its README is no file of a model"
    assert "(version 1)" in out
    assert here("upload", "stored", str(digits), "--version", "again").startswith("stored again")
    for name in ("stored", "stored@again"):
        assert here("download", name, str(tmp_path / name)) == f"{tmp_path / name}\n"
        for file in ("config.json", "model.safetensors"):
            assert (tmp_path / name / file).read_bytes() == (digits / file).read_bytes()
    here("unload", "stored")


def test_reload(here: Callable[..., str]) -> None:
    assert here("reload") == "Nothing changed.\n"


def test_generate_is_what_the_client_generates(environ: dict[str, str], server_client: Client) -> None:
    out, err = run(environ, "generate", "tiny", "The quick", "--max-tokens", "24", "--seed", "3", "--ignore-eos")
    stream = server_client.generate("tiny", "The quick", max_tokens=24, seed=3, ignore_eos=True).wait(WAIT_S)
    assert out.splitlines() == (stream.text + "\n").splitlines()
    assert "24 tokens, length" in err
    assert "first token" in err


def test_the_options_of_generate_are_those_of_the_client(environ: dict[str, str], server_client: Client) -> None:
    out, _ = run(
        environ, "generate", "tiny", "The quick", "--max-tokens", "24", "--seed", "3", "--ignore-eos",
        "--top-k", "30", "--top-p", "0.9", "--min-p", "0.01", "--repetition-penalty", "1.3",
        "--presence-penalty", "0.5", "--frequency-penalty", "0.25", "--stop", "never said", "--stop", "nor this",
    )  # fmt: skip
    stream = server_client.generate(
        "tiny", "The quick", max_tokens=24, seed=3, ignore_eos=True, top_k=30, top_p=0.9, min_p=0.01,
        repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.25, stop=["never said", "nor this"],
    ).wait(WAIT_S)  # fmt: skip
    assert out.splitlines() == (stream.text + "\n").splitlines()


def test_a_stop_text_ends_the_answer_before_it(environ: dict[str, str], server_client: Client) -> None:
    options = ["generate", "tiny", "The quick", "--max-tokens", "24", "--seed", "3", "--ignore-eos"]
    whole, _ = run(environ, *options)
    stop = whole[5:8]
    out, err = run(environ, *options, "--stop", stop)
    assert out == whole[: whole.index(stop)] + "\n"
    assert "stop" in err


def test_metrics(here: Callable[..., str]) -> None:
    values = dict(line.split() for line in here("metrics").splitlines())
    assert values["METRIC"] == "VALUE"
    assert int(values["connections"]) >= 0
    assert "admitted" in values
    assert "nan" not in values.values()
    assert json.loads(here("metrics", "--json"))["admitted"] >= int(values["admitted"])


def test_watching(here: Callable[..., str]) -> None:
    header, line = here("watch", "--lines", "1").splitlines()
    assert header.split()[:3] == ["UTC", "STREAMS", "TOKENS/S"]
    assert len(line) == len(header)


def test_watching_ends_with_ctrl_c(environ: dict[str, str]) -> None:
    process = command(environ, "watch")
    assert process.stdout is not None
    assert "STREAMS" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, err) == (130, "")


def test_alerts(here: Callable[..., str], server_client: Client) -> None:
    server_client.alerts.set([{"metric": "waiting", "above": 1e9, "name": "long queue"}])
    try:
        assert "long queue  -" in here("alerts")
    finally:
        server_client.alerts.set([])


def test_ctrl_c_cancels(environ: dict[str, str], server_client: Client) -> None:
    process = command(environ, "generate", "tiny", "The", "--max-tokens", "15000", "--ignore-eos")
    assert process.stdout is not None
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130, err
    assert "cancelled" in err
    assert server_client.streams()[-1].state == "cancelled"


def test_cancel(environ: dict[str, str], server_client: Client) -> None:
    stream = server_client.generate("tiny", "The", max_tokens=ENDLESS, ignore_eos=True)
    run(environ, "cancel", stream.id)
    assert stream.wait(WAIT_S).state == "cancelled"


def test_predict_from_a_file_and_from_standard_input(environ: dict[str, str], tmp_path: Path) -> None:
    rows = [[[0.0] * 8] * 8, [[8.0] * 8] * 8]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows))
    from_file, _ = run(environ, "predict", "digits", str(file))
    from_stdin, _ = run(environ, "predict", "digits", "-", stdin=json.dumps({"inputs": rows}))
    assert from_file == from_stdin
    assert len(from_file.splitlines()) == 2
    assert all(0 < float(line.split("\t")[1]) <= 1 for line in from_file.splitlines())


def test_bench(environ: dict[str, str]) -> None:
    """The rate was once compared with a duration rounded to a millisecond: a fast machine took 18 and failed."""
    size = ["--concurrency", "3", "--requests", "6", "--prompt-tokens", "10", "--output-tokens", "12"]
    out, _ = run(environ, "bench", "tiny", *size, "--json")
    report = json.loads(out)
    assert report["tokens"] == 6 * 12
    assert report["load"]["concurrency"] == 3
    assert 0 < report["ttft_ms"]["p50"] <= report["ttft_ms"]["p99"] < 1000 * report["duration_s"]
    assert report["tokens_per_second"] == pytest.approx(72 / report["duration_s"], rel=0.001)
    out, _ = run(environ, "bench", "tiny", *size)
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["ms", "TTFT", "ITL"]


def test_an_engine_of_its_own(tmp_path: Path, tiny_llama: Path) -> None:
    out, _ = run(
        clean_environment(tmp_path), "generate", "tiny", "The", "--embedded", "--path", str(tiny_llama),
        "--max-tokens", "4", "--temperature", "0", "--ignore-eos",
    )  # fmt: skip
    assert out


def test_url_and_token(server: JupyterServer, server_client: Client, tmp_path: Path) -> None:
    environ = clean_environment(tmp_path)
    assert "tiny" in run(environ, "models", "--url", server.url, "--token", server.token)[0]
    assert "tiny" in run({**environ, "JUPYTER_TOKEN": server.token}, "models", "--url", server.url)[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["generate", "nope", "x"], "loaded: "),
        (["generate", "tiny", "x", "--temperature", "-1"], "temperature"),
        (["cancel", "st_nowhere"], "no stream"),
        (["predict", "digits", "/nowhere.json"], "JSON"),
        (["bench", "nope"], "loaded: "),
        (["models", "--url", "http://127.0.0.1:9/"], "does not answer"),
        (["rollback", "tiny"], "no version"),
        (["activate", "tiny", "9"], "no version '9'"),
        (["unload", "tiny@9"], "no version"),
        (["configure", "digits", "--max-wait-ms", "-1"], "max_wait_ms"),
        (["upload", "x", "/nowhere"], "no folder"),
        (["upload", "../x", str(BUNDLED / "digits")], "name"),
        (["download", "nope", "/tmp"], "neither loaded nor in the store"),
    ],
)
def test_an_error_is_one_line(arguments: list[str], says: str, here: Callable[..., str]) -> None:
    told = here(*arguments, status=1)
    assert told.startswith("jupyter streaminfer: ")
    assert says in told
    assert told.count("\n") == 1


def test_no_server_says_what_to_do(tmp_path: Path) -> None:
    _, err = run(clean_environment(tmp_path), "models", status=1)
    assert "--url" in err
    assert "--embedded" in err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["generate"],
        ["bench", "tiny", "--requests", "0"],
        ["nonsense"],
        ["route", "tiny", "1"],
        ["configure", "tiny", "--preferred-batch-sizes", "4,x"],
        ["load", "x", "--arguments", "[]"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: jupyter streaminfer" in capsys.readouterr().err


def test_a_reader_that_leaves_cancels_the_stream(environ: dict[str, str], server_client: Client) -> None:
    """As in ``jupyter streaminfer generate ... | head -1``."""
    process = command(environ, "generate", "tiny", "The", "--max-tokens", "15000", "--ignore-eos")
    assert process.stdout is not None
    assert process.stdout.read(1)
    process.stdout.close()
    assert process.wait(WAIT_S) == 1
    assert server_client.streams()[-1].state == "cancelled"
