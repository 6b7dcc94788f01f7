"""The nouns of the public API: what a caller asks for and what comes back. Plain data; nothing below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, NamedTuple

from octavo.errors import InvalidRequestError
from octavo.neutral_values import neutral_values_taken
from octavo.ranges import check_float, check_integer

__all__ = [
    "MAX_BEAM_WIDTH",
    "CompletionOutput",
    "Delta",
    "DrawParams",
    "FinishReason",
    "GenerationRequest",
    "KvBlocks",
    "Logprob",
    "MediaSpan",
    "Picture",
    "PoolingParams",
    "PromptEmbeds",
    "RequestOutput",
    "SamplingParams",
    "TokenLogprobs",
]


class FinishReason(str, Enum):
    """Why a choice ended, in OpenAI's words where it has one."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"
    ERROR = "error"

    __str__ = str.__str__
    __hash__ = str.__hash__  # equal to its text, so found under it, too


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Log-probabilities at one position: natural logarithm of the softmax of the raw logits (before penalties, bias, temperature).

    Attributes:
        token_id: the token that stands at the position.
        logprob: its log-probability, <= 0.
        rank: 1 for the most probable token of the vocabulary, 2 for the next, ...
        top: the most probable tokens as (token_id, logprob), best first; as many as were asked for.
        named: the tokens that were asked for by their ids, likewise, in that order.
    """

    token_id: int
    logprob: float
    rank: int
    top: tuple[tuple[int, float], ...] = ()
    named: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Logprob:
    """One entry of the offline API's log-probabilities, as vLLM has them.

    Attributes:
        logprob: natural logarithm of the token's probability.
        rank: 1 for the most probable token of the vocabulary, 2 for the next, ...
        decoded_token: its text; broken characters as U+FFFD.
    """

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawParams:
    """How a token is drawn from the logits: what the caller chooses and the sampler takes as it is, under the same names.

    `SamplingParams` checks their ranges. A request body has them as fields, `octavo.step.RowSampling` takes them to the runner.

    Attributes:
        temperature: 0 is greedy; logits are divided by it otherwise; 0..100.
        top_k: keep the k most probable tokens, below 2**31; 0: all.
        top_p: keep the smallest set of most probable tokens whose probability reaches top_p, 0 < top_p <= 1, in float32.
        min_p: drop tokens less probable than min_p times the most probable one, 0..1.
        top_n_sigma: keep tokens whose logit is at most n standard deviations (of the row's finite logits) below the greatest, whatever the
            temperature, 0..100; 0: all. Tang et al. 2024, "Top-nsigma: Not All Logits Are You Need".
        repetition_penalty: 1e-6..100; divides positive and multiplies negative logits of tokens seen in prompt or output.
        presence_penalty: -2..2, subtracted once from the logit of each token in the output.
        frequency_penalty: -2..2, subtracted for each occurrence in the output.
        allowed_token_ids: when given, no other token is drawn.
        min_tokens: no end-of-sequence token and no stop string takes effect before this many tokens.
        grammar: that the text must follow, made by `octavo.structured` (`json_schema_grammar`, `regex_grammar`, ...); None: any text.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    top_n_sigma: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    allowed_token_ids: tuple[int, ...] | None = None
    min_tokens: int = 0
    grammar: str | None = None


@neutral_values_taken
@dataclass(frozen=True, slots=True)
class SamplingParams(DrawParams):
    """How tokens are drawn, with `DrawParams`, and when a choice ends. `InvalidRequestError` names a field that is out of range.

    Arguments that other engines have and that ask for nothing (`best_of=1`, `detokenize=True`, `top_k=-1`, ...) are taken; a text or list
    where a tuple is meant becomes one.

    Attributes:
        n: number of choices for the prompt, 1..128.
        max_tokens: most tokens to generate, >= 1; None: as many as the context window still holds.
        seed: makes the draws of this request repeatable, -2**63..2**64-1; None: drawn for each request.
        logit_bias: added to the logits of these token ids; each value -100..100.
        bad_words: texts that are never completed.
        stop: up to 16 texts of at most 4096 bytes in UTF-8; generation ends where one of them appears, also across token boundaries.
        stop_token_ids: token ids that end the generation.
        include_stop_str_in_output: whether the text keeps the stop string that ended it.
        ignore_eos: go on past the end-of-sequence token.
        logprobs: report the drawn token's log-probability and this many alternatives, 0..64; None: no report.
        logprob_token_ids: tokens whose log-probabilities are reported beside those, at most 256; `logprobs` counts as 0 where it is None.
        prompt_logprobs: log-probabilities of each prompt token after the first, with this many alternatives.
        skip_special_tokens: leave special tokens out of the text.
        beam_width: beams of a beam search, n..32, which gives its `n` best texts at its end; None: tokens are drawn. The rules are those of
            transformers' `generate(num_beams=beam_width)`: beams are scored by the model's own log-probabilities, so what changes these
            (penalties, biases, a grammar) or cuts a text (`stop`) cannot be asked for; `temperature` and `seed` change nothing.
        length_penalty: -10..10; a beam's score is its summed log-probability divided by its outputs to this power: above 0 longer texts
            win more often.
        early_stopping: True: the search ends with `beam_width` ended texts; False: when the best beam, at its present length, scores no
            better than the worst of these; "never": the same, at the length that would be best for it.
    """

    n: int = 1
    max_tokens: int | None = 16
    seed: int | None = None
    logit_bias: dict[int, float] = field(default_factory=dict)
    bad_words: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    logprobs: int | None = None
    logprob_token_ids: tuple[int, ...] = ()
    prompt_logprobs: int | None = None
    skip_special_tokens: bool = True
    beam_width: int | None = None
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False

    def __post_init__(self) -> None:
        self._normalise()
        check_integer("n", self.n, 1, 128)
        check_integer("max_tokens", self.max_tokens, 1, _INT32_MAX)
        check_integer("min_tokens", self.min_tokens, 0, _INT32_MAX if self.max_tokens is None else self.max_tokens)
        check_float("temperature", self.temperature, 0.0, 100.0)
        check_integer("top_k", self.top_k, 0, _INT32_MAX)
        check_float("top_p", self.top_p, 0.0, 1.0, open_low=True)
        check_float("min_p", self.min_p, 0.0, 1.0)
        check_float("top_n_sigma", self.top_n_sigma, 0.0, 100.0)
        check_integer("seed", self.seed, -(2**63), 2**64 - 1)
        check_float("repetition_penalty", self.repetition_penalty, _LEAST_PENALTY, 100.0)
        check_float("presence_penalty", self.presence_penalty, -2.0, 2.0)
        check_float("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        check_integer("logprobs", self.logprobs, 0, 64)
        check_integer("prompt_logprobs", self.prompt_logprobs, 0, 64)
        if len(self.logprob_token_ids) > _MAX_NAMED:
            message = f"logprob_token_ids has {len(self.logprob_token_ids)} ids; it may have {_MAX_NAMED}"
            raise InvalidRequestError(message, "logprob_token_ids")
        for token_id, bias in self.logit_bias.items():
            check_float(f"logit_bias[{token_id}]", bias, -100.0, 100.0)
        if len(self.stop) > 16 or not all(self.stop):
            raise InvalidRequestError("stop takes at most 16 texts, none of them empty", "stop")
        longest = max((len(stop.encode(errors="surrogatepass")) for stop in self.stop), default=0)
        if longest > _MAX_STOP_BYTES:
            raise InvalidRequestError(f"stop: a text has {longest} bytes; it may have {_MAX_STOP_BYTES}", "stop")
        if self.grammar is not None and self.ignore_eos:
            raise InvalidRequestError("ignore_eos: structured output ends with that token; leave ignore_eos out", "ignore_eos")
        if self.allowed_token_ids is not None and not self.allowed_token_ids:
            raise InvalidRequestError("allowed_token_ids is empty: no token could be drawn; leave it out to allow all", "allowed_token_ids")
        check_float("length_penalty", self.length_penalty, -10.0, 10.0)
        if self.early_stopping not in (True, False, "never"):
            raise InvalidRequestError(f"early_stopping is {self.early_stopping!r}; it must be true, false or 'never'", "early_stopping")
        if self.beam_width is not None:
            self._check_beams()
        elif self.length_penalty != 1.0 or self.early_stopping:
            name = "early_stopping" if self.early_stopping else "length_penalty"
            raise InvalidRequestError(f"{name}: only beam search has it; ask for one, or leave {name} out", name)

    def _check_beams(self) -> None:
        check_integer("beam_width", self.beam_width, 1, MAX_BEAM_WIDTH)
        if self.beam_width is not None and self.n > self.beam_width:
            raise InvalidRequestError(f"n is {self.n}, but the beam search has {self.beam_width} beams; ask for at most as many", "n")
        for name, neutral in _NEUTRAL_FOR_BEAMS.items():
            if getattr(self, name) != neutral:
                raise InvalidRequestError(f"{name}: beam search ranks texts by the model's own probabilities; leave {name} out", name)

    def clone(self) -> SamplingParams:
        """Return this: nothing can change it, so that a copy would be no different."""
        return self

    def _normalise(self) -> None:
        """Other spellings of the same: -1 for "all" in `top_k`, None for "none", a text or list for a tuple."""
        if self.top_k == -1:
            object.__setattr__(self, "top_k", 0)
        for name in ("stop", "bad_words", "stop_token_ids", "logprob_token_ids"):
            object.__setattr__(self, name, _as_tuple(getattr(self, name)))
        if self.allowed_token_ids is not None:
            object.__setattr__(self, "allowed_token_ids", tuple(self.allowed_token_ids))
        if self.logprob_token_ids and self.logprobs is None:
            object.__setattr__(self, "logprobs", 0)
        if self.logit_bias is None:
            object.__setattr__(self, "logit_bias", {})


def _as_tuple(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


# Numbers are checked as the data plane will see them: counts as int32, real numbers as float32.
_INT32_MAX = 2**31 - 1
_MAX_STOP_BYTES = 4096
_MAX_NAMED = 256
MAX_BEAM_WIDTH = 32
_NEUTRAL_FOR_BEAMS: dict[str, Any] = {
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "top_n_sigma": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "allowed_token_ids": None,
    "grammar": None,
    "logit_bias": {},
    "bad_words": (),
    "logprob_token_ids": (),
    "stop": (),
}
_LEAST_PENALTY = 1e-6  # logits are divided by it: a much smaller one makes them infinite


@dataclass(frozen=True, slots=True)
class PoolingParams:
    """What is asked of a model that makes vectors (embeddings, classes, scores) instead of tokens.

    Attributes:
        dimensions: only the first so many columns of an embedding, 1 .. its width; None: all.
        use_activation: whether vectors go through the model's last function (normalisation, softmax or sigmoid); None: as its files say,
            of classifiers yes.
        token_wise: a vector for each token, instead of one for the text.
        second_segment: where the second text of a pair begins, if its tokens are of a type of their own; None: they are not.
    """

    dimensions: int | None = None
    use_activation: bool | None = None
    token_wise: bool = False
    second_segment: int | None = None

    def __post_init__(self) -> None:
        check_integer("dimensions", self.dimensions, 1, _INT32_MAX)
        check_integer("second_segment", self.second_segment, 0, _INT32_MAX)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, prepared for the model's tower: plain bytes, little-endian and row-major. N patches make up M rows for a decoder.

    Attributes:
        key: of its content.
        patches: float32 [N, values of a patch].
        positions: int32 [N], the patches' rows in the tower's table of positions; or [N, A], on each of its axes.
        selected: int32 [M, F], the patches that make up each of the rows.
        tile_sizes: patches of each tile, in order. Those of one tile see each other.
        num_rows: M.
        grid: frames, rows and columns that the M rows stand for, for decoders whose positions have these axes; None for others.
        window_sizes: patches of the windows that tiles are cut into, of towers that look through windows; they add up to N.
    """

    key: bytes
    patches: bytes = field(repr=False)
    positions: bytes = field(repr=False)
    selected: bytes = field(repr=False)
    tile_sizes: tuple[int, ...]
    num_rows: int
    grid: tuple[int, int, int] | None = None
    window_sizes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptEmbeds:
    """Embeddings that a client gives for tokens of its prompt, which then need not be of the vocabulary.

    Attributes:
        key: of their content.
        rows: float32 [num_rows, E], little-endian and row-major, every value finite.
    """

    key: bytes
    rows: bytes = field(repr=False)
    num_rows: int


class MediaSpan(NamedTuple):
    """Tokens of a prompt that stand for a part of a picture, or of a client's own embeddings.

    Attributes:
        position, length: of the tokens, in the prompt.
        token_id: the placeholder.
        key: of the picture or embeddings.
        first: of their rows that stand there.
    """

    position: int
    length: int
    token_id: int
    key: bytes
    first: int


@dataclass(frozen=True, slots=True)
class TimestampRules:
    """How a speech model's timestamps and texts follow each other; `runner/timestamps.py` has the rules.

    Attributes:
        first_id: the timestamp 0.00; those behind it are later, that before it says "no timestamps".
        end_id: the end-of-text token, behind all tokens of text.
        max_initial: how many timestamps after 0.00 the first one may be; None: any number.
        suppressed: tokens that are never drawn; begin_suppressed: that are not drawn first.
    """

    first_id: int
    end_id: int
    max_initial: int | None = None
    suppressed: tuple[int, ...] = ()
    begin_suppressed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One request as the engine takes it: the prompt is token ids already.

    Attributes:
        request_id: unique among the live requests.
        prompt_token_ids: at least one id, each below the vocabulary size.
        params: sampling parameters.
        priority: lower is served first; equal priorities in order of arrival.
        cache_salt: requests share prefix-cache blocks only with requests of the same salt.
        grammar_field: the field that asked for `params.grammar`, for an error to name.
        pooling: the request wants vectors of its prompt; `params` say nothing then. None: it wants tokens.
        pictures: that the prompt shows, and embeddings that stand in it, each once; of a speech model the window of sound that it hears.
        media: where it shows them, in order; those tokens are placeholders.
        timestamps: rules that the text follows, of speech models; None: none.
    """

    request_id: str
    prompt_token_ids: list[int]
    params: SamplingParams
    priority: int = 0
    cache_salt: str = ""
    grammar_field: str = "grammar"
    pooling: PoolingParams | None = None
    pictures: tuple[Picture | PromptEmbeds, ...] = ()
    media: tuple[MediaSpan, ...] = ()
    timestamps: TimestampRules | None = None


@dataclass(slots=True)
class Delta:
    """What became known about one choice since the last delta. The stream of a choice ends with a `finish_reason`.

    Nobody changes one that is made. It is not frozen because there is one per token, and a frozen one takes three times as long to make.

    Attributes:
        index: the choice, 0 <= index < n.
        text: new text; only whole characters; may be empty.
        token_ids: new tokens, including those whose text is held back.
        logprobs: one entry per token of `token_ids`, or None where not asked for.
        finish_reason: set on the last delta of the choice only.
        stop_reason: the stop string or stop token id that ended the choice; None for end-of-sequence and length.
        num_cached_tokens: prompt tokens that the prefix cache served.
        prompt_logprobs: on the first delta of choice 0 when asked for; entry 0 is None, one entry per prompt token.
        error: what went wrong, with `finish_reason` ERROR.
        pooled: float32 bytes of the vectors that a pooling request asked for, on its one delta.
    """

    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] | None = None
    finish_reason: FinishReason | None = None
    stop_reason: int | str | None = None
    num_cached_tokens: int = 0
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    error: str | None = None
    pooled: bytes | None = None

    @staticmethod
    def joined(deltas: Sequence[Delta]) -> Delta:
        """One delta that says what these say, all of one choice and in order."""
        first, last = deltas[0], deltas[-1]
        if first is last:
            return first
        return Delta(
            index=first.index,
            text="".join(delta.text for delta in deltas),
            token_ids=[token_id for delta in deltas for token_id in delta.token_ids],
            logprobs=None if first.logprobs is None else [entry for delta in deltas for entry in delta.logprobs or ()],
            finish_reason=last.finish_reason,
            stop_reason=last.stop_reason,
            num_cached_tokens=last.num_cached_tokens,
            prompt_logprobs=first.prompt_logprobs,
            error=last.error,
            pooled=last.pooled,
        )


@dataclass(slots=True)
class CompletionOutput:
    """One finished choice (offline API).

    Attributes:
        logprobs: for each token, token id -> log-probability of the drawn and the most probable tokens; None where not asked for.
        finish_reason: a value of `FinishReason`, as a text.
        stop_reason: the stop string or stop token id that ended the choice; None for end-of-sequence and length.
        cumulative_logprob: sum over the drawn tokens; None where log-probabilities were not asked for.
    """

    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[dict[int, Logprob]] | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    cumulative_logprob: float | None = None

    def finished(self) -> bool:
        """Whether the choice has ended."""
        return self.finish_reason is not None


@dataclass(slots=True)
class RequestOutput:
    """All choices of one prompt (offline API).

    Attributes:
        prompt: the text, or None where token ids were given.
        prompt_logprobs: for each prompt token but the first (None) token id -> its and the most probable tokens' log-probability.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    num_cached_tokens: int = 0
    prompt_logprobs: list[dict[int, Logprob] | None] | None = None

    @property
    def finished(self) -> bool:
        """Whether every choice has ended."""
        return all(output.finished() for output in self.outputs)


@dataclass(frozen=True, slots=True)
class KvBlocks:
    """A picture of the KV blocks of the layers that keep the same tokens.

    Attributes:
        window: tokens that a token of these layers sees, its own included; None: all of them.
        states: a byte per block: 0 free, 1 held by one sequence, 2 free but cached (a prefix may still hit it), 3 shared by several.
    """

    window: int | None
    states: bytes
