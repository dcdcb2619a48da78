"""Config of conversations: how rows of files hold them. No torch at import: the command line reads it first."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bigtrain.errors import UserError
from bigtrain.options import option


class Form(StrEnum):
    """The forms that rows of conversations come in."""

    auto = "auto"  # told by the fields of the first row
    alpaca = "alpaca"  # instruction, input, output
    sharegpt = "sharegpt"  # conversations: a list of {"from", "value"}
    messages = "messages"  # messages: a list of {"role", "content"}
    prompt = "prompt"  # prompt, completion


@dataclass
class FormsConfig:
    """What the fields of conversations are called (objective=sft and preference, evals=answers and preference)."""

    form: Form = option(
        Form.auto, "form of conversations: alpaca, sharegpt, messages, prompt; auto: told by the first row's fields"
    )
    prompt_field: str = option("prompt", "column or field with the prompt, where the form is prompt")
    answer_field: str = option("completion", "column or field with the answer, where the form is prompt")

    def settled_form(self) -> Form:
        """The form, where these keys say it. Raises UserError where they contradict each other."""
        named = [key for key in ("prompt_field", "answer_field") if getattr(self, key) != getattr(FormsConfig, key)]
        if not named or self.form is Form.prompt:
            return self.form
        if self.form is Form.auto:
            return Form.prompt
        raise UserError(
            f"data.{named[0]}={getattr(self, named[0])} with data.form={self.form}",
            f"the fields of {self.form} have their own names",
            f"leave data.{named[0]}= or data.form= out",
        )


@dataclass
class TrainFormsConfig(FormsConfig):
    """Conversations to learn from."""

    train_answers: str | None = option(
        None, "line-parallel text: line n of this file is the answer to line n of data.train"
    )
    validation_answers: str | None = option(None, "the same for data.validation")


@dataclass
class MeasuredFormsConfig(FormsConfig):
    """Conversations to measure a model on."""

    answers: str | None = option(None, "line-parallel text: line n of this file is the answer to line n of data.files")
