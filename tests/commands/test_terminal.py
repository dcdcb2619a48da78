"""`bigtrain generate` on a real terminal: text as it is written, a conversation, Ctrl-D and Ctrl-C."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import command, environment
from test_generate_command import run, save

from bigtrain.commands.conversation import printable

LINES = ["device=cpu", "device.precision=fp32", "seed=3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = save(tmp_path_factory.mktemp("models") / "model", max_seq_len=512)
    (made / "chat_template.jinja").write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    return made


class Terminal:
    """A quiet process on a terminal of its own, and what it shows."""

    def __init__(self, *words: str) -> None:
        self.ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command(*words, "-q"), env=environment(), stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True, preexec_fn=lambda: os.close(os.open(os.ttyname(theirs), os.O_RDWR)),
        )  # fmt: skip
        os.close(theirs)
        self.shown, self.parts = b"", 0

    def read(self, until: bytes | None = None) -> bytes:
        """What is shown up to a text, or to the end."""
        begin = len(self.shown)
        while until is None or until not in self.shown[begin:]:
            assert select.select([self.ours], [], [], 60)[0], self.shown
            try:
                part = os.read(self.ours, 65536)
            except OSError:  # the other side is closed
                break
            self.shown += part
            self.parts += 1
        return self.shown[begin:]

    def type(self, keys: bytes) -> None:
        os.write(self.ours, keys)


@contextmanager
def terminal(*words: str) -> Iterator[Terminal]:
    made = Terminal(*words)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()
        os.close(made.ours)


def test_text_comes_as_it_is_written(folder: Path) -> None:
    text = run(folder, "prompt=Hello", "max_new_tokens=400", *LINES)["text"]
    with terminal("generate", f"checkpoint={folder}", "-p", "Hello", "max_new_tokens=400", *LINES) as shown:
        assert shown.read() == (printable(text) + "\n").replace("\n", "\r\n").encode()
        assert shown.process.wait(10) == 0
    assert shown.parts > 20


def test_a_conversation_ends_with_ctrl_d(folder: Path) -> None:
    with terminal("generate", f"checkpoint={folder}", "chat=true", "max_new_tokens=20", *LINES) as talk:
        answer = run(folder, "prompt=Hi", "chat=true", "max_new_tokens=20", *LINES)["completion"]
        assert talk.read(b"> ") == b"> "
        talk.type(b"Hi\n")
        assert talk.read(b"\r\n> ") == b"Hi\r\n" + (printable(answer) + "\n").replace("\n", "\r\n").encode() + b"> "
        talk.type(b"\x04")
        assert talk.read() == b"\r\n"
        assert talk.process.wait(10) == 0


def test_ctrl_c_ends_the_text(folder: Path) -> None:
    with terminal("generate", f"checkpoint={folder}", "chat=true", *LINES) as talk:
        talk.read(b"> ")
        time.sleep(0.1)
        talk.type(b"\x03")
        assert b"the conversation is over, and none of it is kept" in talk.read()
        assert talk.process.wait(10) == 75
