"""Every error that bigtrain raises on purpose, with the exit code it ends the process with."""

from __future__ import annotations

from typing import Any

_JSON_KINDS = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}


class BigtrainError(Exception):
    """Base class. `exit_code` is what the process returns when the error reaches the command line."""

    exit_code = 1


class UserError(BigtrainError):
    """Bad input: what was given, the rule it broke, what to do. Printed as one `error:` block, exit code 2."""

    exit_code = 2

    def __init__(self, given: str, rule: str, remedy: str) -> None:
        self.given, self.rule, self.remedy = given, rule, remedy
        super().__init__(f"{given}\n  rule:   {rule}\n  remedy: {remedy}")

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, str]]:
        return type(self), (self.given, self.rule, self.remedy)  # it travels between processes


class GateMissed(BigtrainError):
    """A metric missed a gate of `bigtrain evaluate`."""

    exit_code = 3


class Diverged(BigtrainError):
    """The loss or a gradient stopped being finite; nothing non-finite was saved."""

    exit_code = 4


class LostProcess(BigtrainError):
    """A process of the run hangs or is gone."""

    exit_code = 5


class DiskFull(BigtrainError):
    """The disk cannot hold what must be written; what was there before is intact."""

    exit_code = 6


class RunBusy(BigtrainError):
    """Another living process holds the run folder."""

    exit_code = 7


class Stopped(BaseException):
    """A stop signal was obeyed; the same command again loses nothing. No `except Exception` of a library holds it."""

    exit_code = 75


def kind_of(value: Any) -> str:
    """What a value of a row or file is, in JSON's words; the name of its type where JSON has no such values."""
    if value is None:
        return "null"
    return f"a JSON {_JSON_KINDS[type(value)]}" if type(value) in _JSON_KINDS else f"a {type(value).__name__}"
