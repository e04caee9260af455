"""The workload section: the traffic of one trial, one model per kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, NonNegativeInt, PositiveInt, Tag, model_validator

from llmatrix.spec.base import Section
from llmatrix.spec.loads import ClosedLoop, Load, OpenLoop, RampedLoop
from llmatrix.spec.recorded import NamedDataset, NamedTrace
from llmatrix.spec.units import NonNegativeDuration, PositiveDuration

__all__ = [
    "ClosedLoop",
    "DatasetWorkload",
    "MultiTurnWorkload",
    "OpenLoop",
    "RampedLoop",
    "RandomWorkload",
    "SharedPrefixWorkload",
    "TraceWorkload",
    "Workload",
]


def _shards_meant(value: Any) -> str | None:
    if value == "auto":
        return "Literal"
    return "int" if isinstance(value, (int, float)) else None


Shards = Annotated[
    Annotated[int, Field(ge=1, le=64), Tag("int")] | Annotated[Literal["auto"], Tag("Literal")],
    Discriminator(
        _shards_meant,
        custom_error_type="shards",
        custom_error_message="must be a whole number from 1 to 64, or auto",
    ),
]


class _Sending(Section):
    """How requests are sent, whatever they ask."""

    duration: PositiveDuration = 30.0
    """Seconds of the measured window."""
    warmup: NonNegativeDuration = 5.0
    """Seconds under the same load before the window; their requests are not measured."""
    drain: PositiveDuration = 60.0
    """Seconds to wait, at most, for the window's last answers; the load goes on meanwhile."""
    timeout: PositiveDuration = 120.0
    """Seconds after which one request counts as failed."""
    api: Literal["completions", "chat"] = "completions"
    """Which OpenAI endpoint is asked."""
    stream: bool = True
    """Whether answers are asked for token by token; a whole answer has no TTFT and no ITL."""
    prompt: Literal["token-ids", "text"] = "token-ids"
    """How prompts travel; endpoint pickers of the GAIE family accept text only."""
    seed: NonNegativeInt = 0
    """Chooses prompts and arrivals, together with the replicate."""
    shards: Shards = "auto"
    """Processes that send together; `auto`: one for each 30,000 events a second, if cores allow."""
    harness: Literal["native"] = "native"
    """The program that sends the traffic and times the answers."""

    @property
    def turns_each(self) -> int:
        """Give how many requests one arrival brings."""
        return 1

    @model_validator(mode="after")
    def _chat_takes_text(self) -> Self:
        if self.api == "chat" and self.prompt == "token-ids":
            raise ValueError("api: chat takes text, not token ids; set prompt: text as well")
        return self


class _Loaded(_Sending):
    """What asks for a load."""

    load: Load
    """`{rate: 20}`, `{concurrency: 64}` or `{ramp: [{rate: 5, to: 50, duration: 30s}]}`."""

    @model_validator(mode="after")
    def _ramp_fits(self) -> Self:
        if isinstance(self.load, RampedLoop):
            lasts = sum(piece.seconds for piece in self.load.pieces)
            if lasts > self.duration:
                raise ValueError(
                    f"load.ramp lasts {lasts:g} s and the window {self.duration:g} s; "
                    f"set duration: {lasts:g}s"
                )
        return self


class _Traffic(_Loaded):
    """Prompts of random tokens and a length."""

    question_len: PositiveInt
    """Tokens of the prompt that no other request shares."""
    output_len: PositiveInt
    """Tokens of each answer."""

    @property
    def mean_output(self) -> float:
        """Give the mean tokens of an answer."""
        return float(self.output_len)

    @property
    def prompt_len(self) -> int:
        """Tokens of the longest prompt."""
        return self.question_len

    @property
    def most_tokens(self) -> int:
        """Tokens of the longest prompt and its answer together."""
        return self.prompt_len + self.output_len

    @property
    def needs_tokenizer(self) -> bool:
        """Whether tokens must be counted as the model does."""
        return self.prompt == "text"


class RandomWorkload(_Traffic):
    """Prompts of random tokens: nothing is shared."""

    kind: Literal["random"]


class SharedPrefixWorkload(_Traffic):
    """Prompts in groups; all prompts of a group begin with the same prefix."""

    kind: Literal["shared-prefix"]
    groups: PositiveInt
    """Different prefixes."""
    prefix_len: PositiveInt
    """Tokens of each prefix."""

    @property
    def prompt_len(self) -> int:
        """Tokens of one prompt."""
        return self.prefix_len + self.question_len


class MultiTurnWorkload(_Traffic):
    """Conversations: each turn repeats what was said before; load counts sessions."""

    kind: Literal["multi-turn"]
    turns: Annotated[int, Field(ge=2, le=1000)]
    """Requests of a session, one after another."""
    think_time: NonNegativeDuration = 0.0
    """Mean seconds from the end of an answer to the next question."""
    think_cv: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Coefficient of variation of the time to think: 0 always the same, 1 exponential."""
    history: Literal["made", "received"] = "made"
    """Answers in later turns: made, of exact length, or what the server answered (text only)."""

    @property
    def turns_each(self) -> int:
        """Give how many requests one arrival brings."""
        return self.turns

    @property
    def prompt_len(self) -> int:
        """Tokens of the last turn's prompt."""
        return self.turns * self.question_len + (self.turns - 1) * self.output_len

    @model_validator(mode="after")
    def _received_is_text(self) -> Self:
        if self.history == "received" and self.prompt == "token-ids":
            raise ValueError("history: received repeats text, not token ids; set prompt: text")
        return self


class DatasetWorkload(_Loaded):
    """Recorded prompts."""

    kind: Literal["dataset"]
    dataset: NamedDataset
    """File of prompts: JSON Lines with `prompt` or `messages`, or the ShareGPT form."""
    output_len: PositiveInt | None = None
    """Tokens of each answer whose row has no `output_len`; left out, recorded answers count."""
    prompt: Literal["text"] = "text"
    """Recorded prompts travel as text."""

    @property
    def mean_output(self) -> float:
        """Give about the mean tokens of an answer."""
        return self.dataset.mean_output or float(self.output_len or 0)

    @property
    def prompt_len(self) -> int:
        """Words of the longest prompt."""
        return self.dataset.longest

    @property
    def most_tokens(self) -> int:
        """Words of the longest prompt and the longest answer together; about their tokens."""
        return self.dataset.longest + max(self.dataset.longest_output, self.output_len or 0)

    @property
    def needs_tokenizer(self) -> bool:
        """Whether tokens must be counted as the model does."""
        return self.dataset.counted and self.output_len is None

    @model_validator(mode="after")
    def _answers_have_a_length(self) -> Self:
        if self.output_len is None and self.dataset.bare is not None:
            raise ValueError(
                f"output_len is missing: line {self.dataset.bare} of the dataset says neither how "
                "long its answer is to be nor what was answered"
            )
        if self.api == "completions" and self.dataset.chat is not None:
            raise ValueError(
                f"line {self.dataset.chat} of the dataset has several messages; set api: chat"
            )
        return self


class TraceWorkload(_Sending):
    """Recorded arrivals, replayed: when requests came, and how long prompts and answers were."""

    kind: Literal["trace"]
    trace: NamedTrace
    """File of arrivals: JSON Lines or CSV with `timestamp`, `input_length`, `output_length`."""
    unit: Literal["s", "ms"] = "s"
    """Of timestamps that are numbers; Mooncake's are in ms."""
    speed: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """How many times as fast as recorded: at 2, gaps are half as long."""

    @property
    def lasts(self) -> float:
        """Give the seconds that the replay takes."""
        return self.trace.lasts * (1e-3 if self.unit == "ms" else 1.0) / self.speed

    @property
    def mean_rate(self) -> float:
        """Give the mean arrivals per second of the replay."""
        return self.trace.rows / self.lasts if self.lasts else float(self.trace.rows)

    @property
    def mean_output(self) -> float:
        """Give the mean tokens of an answer."""
        return self.trace.mean_output

    @property
    def prompt_len(self) -> int:
        """Tokens of the longest prompt, at most."""
        return self.trace.longest - 1

    @property
    def most_tokens(self) -> int:
        """Tokens of the longest prompt and its answer together."""
        return self.trace.longest

    @property
    def needs_tokenizer(self) -> bool:
        """Whether tokens must be counted as the model does."""
        return self.prompt == "text"

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        needed = self.warmup + self.duration
        if self.lasts < needed:
            raise ValueError(
                f"the trace lasts {self.lasts:.4g} s at speed {self.speed:g}, and warm-up and "
                f"window {needed:g} s; lower duration, warmup or speed"
            )
        return self


Workload = Annotated[
    RandomWorkload | SharedPrefixWorkload | MultiTurnWorkload | DatasetWorkload | TraceWorkload,
    Field(discriminator="kind"),
]
