"""Text as its tokens come: never half a character, nothing that may turn out to begin a stop string."""

from __future__ import annotations

from collections.abc import Sequence

from bigtrain.tokenizer import Tokenizer

_CONTEXT = 4  # tokens of the prompt that the first token is decoded with: some tokenizers drop a text's first blank
_UNFINISHED = "\ufffd"  # what the bytes of half a character are decoded to


class TextStream:
    """The text that follows a prompt, from one token to the next."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], stop: Sequence[str] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, stop
        start = max(0, len(prompt) - _CONTEXT)
        # A tokenizer that falls back to bytes makes no character of a run of bytes that begins inside of one.
        while start and tokenizer.decode(prompt[start:]).startswith(_UNFINISHED):
            start = max(0, 2 * start - len(prompt))
        self._tokens = list(prompt[start:])  # from the last place where text was decoded
        self._known = len(self._tokens)  # how many of these have given their text
        self.text = ""
        self.stopped = False
        self._shown = 0

    def add(self, token: int) -> None:
        """Take a token; `stopped` is set where a stop string is complete, and the text ends before it."""
        self._tokens.append(token)
        self._read(last=False)

    def finish(self) -> None:
        """There is no further token: what is left of a character is shown as U+FFFD."""
        self._read(last=True)

    def whole(self, tokens: Sequence[int]) -> str:
        """The text after all these tokens, and no others."""
        self._tokens += tokens
        self.finish()
        return self.text

    def _read(self, *, last: bool) -> None:
        before = self._tokenizer.decode(self._tokens[: self._known])
        after = self._tokenizer.decode(self._tokens)
        if after.endswith(_UNFINISHED) and not last:
            return
        self._tokens, self._known = self._tokens[self._known :], len(self._tokens) - self._known
        begin = max(0, len(self.text) - max(map(len, self._stop), default=1) + 1)
        self.text += after[len(before) :]
        places = [place for stop in self._stop if (place := self.text.find(stop, begin)) >= 0]
        if places:
            self.text, self.stopped = self.text[: min(places)], True

    def new(self, *, last: bool = False) -> str:
        """The text that has come since the last call and will not be taken back; with `last` all of it."""
        end = len(self.text)
        if not (last or self.stopped):
            end -= max((_overlap(self.text, stop) for stop in self._stop), default=0)
        new = self.text[self._shown : end]
        self._shown = max(self._shown, end)
        return new


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of `text` that `stop` begins with."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
