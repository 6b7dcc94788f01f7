"""`LLM.beam_search` as scripts written for vLLM call it: its parameters and its outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from octavo.types import CompletionOutput, Logprob, RequestOutput, SamplingParams

if TYPE_CHECKING:
    from octavo.llm_outputs import ScriptTokenizer

__all__ = ["BeamSearchOutput", "BeamSearchParams", "BeamSearchSequence", "beam_search_output"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BeamSearchParams:
    """What a beam search asks for; `SamplingParams` says what the names mean and checks them.

    Attributes:
        temperature: taken from scripts; it changes no beam.
    """

    beam_width: int
    max_tokens: int
    ignore_eos: bool = False
    temperature: float = 0.0
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    include_stop_str_in_output: bool = False

    def sampling_params(self) -> SamplingParams:
        """Return the same as a request's parameters: all beams are wanted, with log-probabilities."""
        return SamplingParams(
            n=self.beam_width,
            beam_width=self.beam_width,
            max_tokens=self.max_tokens,
            ignore_eos=self.ignore_eos,
            temperature=self.temperature,
            length_penalty=self.length_penalty,
            early_stopping=self.early_stopping,
            include_stop_str_in_output=self.include_stop_str_in_output,
            logprobs=0,
        )


@dataclass(slots=True)
class BeamSearchSequence:
    """A text that the search found.

    Attributes:
        tokens, text: prompt and output.
        logprobs: for each output token, token id -> log-probability.
        cum_logprob: sum over the outputs; what beams are ranked by before the length penalty.
        finish_reason: "stop" or "length".
    """

    tokens: list[int]
    text: str
    logprobs: list[dict[int, Logprob]]
    cum_logprob: float
    finish_reason: str | None
    stop_reason: int | str | None


@dataclass(slots=True)
class BeamSearchOutput:
    """The texts that a search found for one prompt, best first."""

    sequences: list[BeamSearchSequence]


def beam_search_output(output: RequestOutput, tokenizer: ScriptTokenizer) -> BeamSearchOutput:
    """Return a request's choices in the shape that scripts read."""
    return BeamSearchOutput([_sequence(output, choice, tokenizer) for choice in output.outputs])


def _sequence(output: RequestOutput, choice: CompletionOutput, tokenizer: ScriptTokenizer) -> BeamSearchSequence:
    prompt = tokenizer.decode(output.prompt_token_ids) if output.prompt is None else output.prompt
    return BeamSearchSequence(
        tokens=output.prompt_token_ids + choice.token_ids,
        text=prompt + choice.text,
        logprobs=choice.logprobs or [],
        cum_logprob=choice.cumulative_logprob or 0.0,
        finish_reason=choice.finish_reason,
        stop_reason=choice.stop_reason,
    )
