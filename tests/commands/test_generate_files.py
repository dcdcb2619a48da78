"""`bigtrain generate prompts=FILE output=FILE`: killed, resumed, shared out; and what is printed as it comes."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from harness import cli, command, environment, fork
from test_generate_command import save

from bigtrain import config
from bigtrain.commands import generate
from bigtrain.commands.conversation import printable
from bigtrain.errors import UserError
from bigtrain.tokenizer import Tokenizer

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = save(tmp_path_factory.mktemp("models") / "model", max_seq_len=256)
    (made / "chat_template.jinja").write_text(TEMPLATE)
    return made


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(6)
    path = tmp_path_factory.mktemp("data") / "prompts.jsonl"
    rows = [{"id": n, "prompt": "xyz " * draw.randint(1, 40)} for n in range(60)]
    rows.append({"id": 60, "messages": [{"role": "user", "content": "Hello"}]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def words(folder: Path, prompts: Path, output: Path, *more: str) -> list[str]:
    start = [f"checkpoint={folder}", f"prompts={prompts}", f"output={output}", "device=cpu", "device.precision=fp32"]
    return [*start, "max_new_tokens=40", "seed=3", *more]


def run(*lines: str, **options: Any) -> dict[str, Any]:
    return generate.run(config.load("generate", list(lines)), **options)


@pytest.fixture(scope="module")
def whole(folder: Path, prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    output = tmp_path_factory.mktemp("out") / "out.jsonl"
    result = run(*words(folder, prompts, output))
    assert (result["rows"], result["rows_done_before"]) == (61, 0)
    return output.read_bytes()


def test_rows_come_in_the_order_of_the_input(whole: bytes, prompts: Path, folder: Path) -> None:
    rows = [json.loads(line) for line in whole.splitlines()]
    assert [row["id"] for row in rows] == list(range(61))
    assert all(row["completion"] and row["tokens"] for row in rows)
    one = run(f"checkpoint={folder}", "prompt=" + rows[0]["prompt"], "device.precision=fp32", "max_new_tokens=40",
              "seed=3", "device=cpu")  # fmt: skip
    assert one["completion"] == rows[0]["completion"]
    said = [json.loads(line) for line in prompts.read_text().splitlines()]
    assert all(before.items() <= after.items() for before, after in zip(said, rows, strict=True))


def test_killed_and_started_again(folder: Path, prompts: Path, tmp_path: Path, whole: bytes) -> None:
    output = tmp_path / "out.jsonl"
    lines = words(folder, prompts, output, "batch_size=2")
    part = tmp_path / "out.jsonl.part-0"
    pid = fork("generate", lines)
    while not (part.exists() and part.read_bytes().count(b"\n") > 3):
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not output.exists()
    done = part.read_bytes().count(b"\n")
    again = run(*lines)
    assert again["rows_done_before"] == done < 61
    assert output.read_bytes() == whole
    complete = run(*words(folder, prompts, output, "batch_size=9"))
    assert (complete["rows_done_before"], complete["tokens"]) == (61, 0)
    with pytest.raises(UserError, match="made with other settings: temperature"):
        run(*lines, "temperature=0.5")
    assert output.read_bytes() == whole


def test_a_signal_ends_with_75_and_processes_share_the_rest(
    folder: Path, prompts: Path, tmp_path: Path, whole: bytes
) -> None:
    output = tmp_path / "out.jsonl"
    lines = words(folder, prompts, output, "batch_size=1")
    process = subprocess.Popen(command("generate", *lines), env=environment(), stderr=subprocess.DEVNULL)
    part = tmp_path / "out.jsonl.part-0"
    while not (part.exists() and part.read_bytes()):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 75
    assert not output.exists()
    done = cli("generate", "--nproc", "2", "--json", *lines)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert 0 < result["rows_done_before"] < 61
    assert output.read_bytes() == whole


def test_choices_beams_and_several_completions(folder: Path, prompts: Path, tmp_path: Path) -> None:
    def rows(name: str, *more: str) -> list[dict[str, Any]]:
        given = words(folder, prompts, tmp_path / name)[:-2]
        run(*given, *more)
        return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]

    several = rows("n", "n=3", "max_new_tokens=4")
    assert all(len({c["completion"] for c in row["completions"]}) > 1 for row in several)
    best = rows("beams", "beams=3", "n=2", "logprobs=true", "max_new_tokens=4")
    assert all([*map(len, (c["token_ids"] for c in row["completions"]))] == [4, 4] for row in best[:5])
    compared = rows("choices", 'choices=[" yes", " no"]')
    for row in compared:
        assert row["choice"] == max(row["choices"], key=lambda choice: choice["logprob"])["text"]


def test_text_is_printed_as_it_comes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"checkpoint={folder}", "device=cpu", "max_new_tokens=9", "prompt=Hello"]
    result = run(*lines, live=True)
    generate.show(result)
    assert capsys.readouterr().out == "Hello" + printable(result["completion"]) + "\n"
    answer = run(*lines, "chat=true", live=True)
    generate.show(answer)
    assert capsys.readouterr().out == printable(answer["completion"]) + "\n"
    assert run(*lines, "chat=true")["completion"] == answer["completion"] != result["completion"]


def test_a_conversation(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter(["Hi", "", "x" * 300, "And you?"])

    def reply(_: str) -> str:
        try:
            return next(said)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", reply)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    lines = [f"checkpoint={folder}", "device=cpu", "max_new_tokens=6", "chat=true"]
    messages = run(*lines, live=True)["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    shown = "".join(printable(m["content"]) + "\n" for m in messages[1::2])
    assert capsys.readouterr().out == shown + "\n"
    with pytest.raises(UserError, match="no prompt"):
        run(*lines)


def test_a_conversation_goes_on_where_the_model_is_full(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said = iter([f"message {number} " + "." * 30 for number in range(8)])

    def reply(_: str) -> str:
        if (text := next(said, None)) is None:
            raise EOFError
        return text

    monkeypatch.setattr("builtins.input", reply)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    lines = [f"checkpoint={folder}", "device=cpu", "max_new_tokens=6", "chat=true", "system=Be brief"]
    messages = run(*lines, live=True)["messages"]
    assert messages[0] == {"role": "system", "content": "Be brief"}
    assert messages[-2]["content"].startswith("message 7")
    assert len(messages) < 17
    assert "turns are left out" in caplog.text


def test_a_system_message_stands_before_the_prompt(folder: Path) -> None:
    lines = [f"checkpoint={folder}", "device=cpu", "max_new_tokens=6", "prompt=Hi", "temperature=0", "chat=true"]
    with_it, without = (run(*lines, *more, dry_run=True)["prompt_tokens"] for more in (["system=Be brief"], []))
    assert with_it > without + len("Be brief")
    with pytest.raises(UserError, match="system= without chat=true"):
        run(*lines[:-1], "system=Be brief")


def test_what_would_move_a_terminal_s_cursor_is_escaped() -> None:
    assert printable("a\tb\n\x1b[2Jc\r\x9b\x7f你") == "a\tb\n\\x1b[2Jc\\x0d\\x9b\\x7f你"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["prompt=x", "prompts=p.jsonl"], "prompt= and prompts="),
        (["prompts=p.jsonl"], "prompts= without output="),
        (["prompt=x", "output=o.jsonl"], "output= without prompts="),
        (["prompt=x", "n=2", "temperature=0"], "n=2 with temperature=0"),
        (["prompt=x", "beams=2", "n=3"], "n=3 with beams=2"),
        (["prompt=x", "beams=2", "top_k=3"], "beams=2 with top_k=3"),
        (["prompt=x", "choices=[a]", "n=2"], "choices= with n=2"),
        (["prompt=x", 'stop=["a", ""]'], "stop with an empty text"),
        (["prompts=missing.jsonl", "output=o.jsonl"], "prompts=missing.jsonl"),
        (["prompt=x", "min_p=1.5"], "min_p=1.5"),
        (["prompt=x", "sampling=greedy"], "sampling"),
    ],
)
def test_settings_that_do_not_go_together(folder: Path, lines: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(f"checkpoint={folder}", "device=cpu", *lines)


def test_a_prompt_too_long_names_file_and_line(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    for row, message in (({"prompt": "x" * 257}, "257 tokens"), ({"prompt": ""}, "an empty prompt")):
        path.write_text(json.dumps({"prompt": "x"}) + "\n" + json.dumps(row) + "\n")
        with pytest.raises(UserError, match=rf"p\.jsonl:2: .*{message}"):
            run(*words(folder, path, tmp_path / "out.jsonl"))
    assert [file.name for file in tmp_path.iterdir()] == ["p.jsonl"]


def test_stop_and_logprobs(folder: Path) -> None:
    lines = [f"checkpoint={folder}", "device=cpu", "device.precision=fp32", "prompt=ab", "max_new_tokens=20", "seed=1"]
    plain = run(*lines, "logprobs=true")
    assert len(plain["token_ids"]) == len(plain["logprobs"]) == plain["tokens"]
    assert Tokenizer.load(folder).decode(plain["token_ids"]) == plain["completion"]
    letters = [letter for letter in plain["completion"] if letter.isalnum()]
    stopped = run(*lines, f"stop={letters[1]}")
    assert stopped["stopped_by"] == "stop"
    assert stopped["completion"] == plain["completion"][: plain["completion"].index(letters[1])]
