"""The blocking front door: `LLM(model).generate(prompts)` over the same engine that the server runs.

The engine lives on an event loop in a thread of its own; the calls here hand it work and wait. An `LLM` may be used from
several threads at once; each call returns its own outputs.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
import weakref
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from octavo.config import EngineConfig
from octavo.engine.engine_thread import EngineThread
from octavo.errors import InvalidRequestError
from octavo.llm_beams import BeamSearchOutput, BeamSearchParams, beam_search_output
from octavo.llm_chats import read_chat
from octavo.llm_outputs import ScriptTokenizer, logprob_mapping
from octavo.llm_pooling import (
    ClassificationOutput,
    Convert,
    EmbeddingOutput,
    PoolingOutput,
    PoolingRequestOutput,
    ScoringOutput,
    matrix_of,
    model_for,
    pair_inputs,
    text_inputs,
    with_segment,
)
from octavo.llm_prompts import Prompt, ReadPrompt, naming, read_prompts
from octavo.llm_settings import ABSENT_METHODS, check_absent, engine_settings
from octavo.llm_speech import Transcript, options_of, samples_of, transcribe
from octavo.log import get_logger
from octavo.types import CompletionOutput, Delta, FinishReason, GenerationRequest, PoolingParams, RequestOutput, SamplingParams

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from octavo.engine.pooling_inputs import PoolingInput
    from octavo.engine.port import Engine
    from octavo.engine.request_stream import RequestStream
    from octavo.text.tokenizer import Tokenizer

__all__ = ["LLM"]

Params = SamplingParams | Sequence[SamplingParams] | None
Message = dict[str, Any]
OnDelta = Callable[[Delta], None]

logger = get_logger(__name__)


class LLM:
    """A model, loaded once, that answers many prompts at a time.

        with LLM("folder-or-file.gguf", max_num_seqs=32) as llm:
            for output in llm.generate(["Once upon a time"], SamplingParams(max_tokens=64)):
                print(output.outputs[0].text)

    Args:
        model: model folder, .gguf file or name on the Hugging Face hub; empty: the default model.
        settings: any other field of `EngineConfig`; neutral values of vLLM's settings are taken, too.

    Raises:
        OctavoError: the settings are wrong or the model cannot be loaded.
    """

    def __init__(self, model: str = "", **settings: Any) -> None:
        from octavo.assemble import build_engine

        self._attach(build_engine(EngineConfig.of(**engine_settings(model, settings))))

    @classmethod
    def from_engine(cls, engine: Engine) -> LLM:
        """Return an `LLM` over an engine that is not started; it is closed with the `LLM`."""
        llm = cls.__new__(cls)
        llm._attach(engine)
        return llm

    def _attach(self, engine: Engine) -> None:
        self._engine = engine
        self._ids = itertools.count()
        self._thread = EngineThread(engine)
        self._finalizer = weakref.finalize(self, self._thread.abandon)
        self._finalizer.atexit = False  # the thread closes itself at exit, and waits there

    @property
    def engine(self) -> Engine:
        """The engine behind; its coroutines belong to a loop of its own, so use only what is plain data: info, tokenizer, stats()."""
        return self._engine

    def get_tokenizer(self) -> ScriptTokenizer:
        """The model's tokenizer, with the methods that scripts use of transformers' ones."""
        return ScriptTokenizer(self._engine.tokenizer)

    def __getattr__(self, name: str) -> Any:
        if name in ABSENT_METHODS:
            raise AttributeError(f"Octavo's LLM has no {name}; see docs/coming-from-vllm.md")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: Params = None,
        *,
        priority: int = 0,
        progress: bool | None = None,
        use_tqdm: bool | None = None,
        lora_request: None = None,
    ) -> list[RequestOutput]:
        """Continue each prompt and return the outputs in the order of the prompts.

        Args:
            prompts: a text, token ids, `{"prompt": text}`, `{"prompt_token_ids": ids}`, or a list of such.
            sampling_params: one for all prompts or one for each; default: `SamplingParams()`.
            priority: lower is served first.
            progress: show a progress bar on standard error; None: when that is a terminal. `use_tqdm` is vLLM's name for it.
            lora_request: None; there are no adapters yet.

        Raises:
            InvalidRequestError: a prompt cannot be served, of several the text says which; the others are given up.
        """
        check_absent("lora_request", lora_request)
        read = read_prompts(prompts, self._engine.tokenizer.encode, self._engine.info)
        params = _one_each(sampling_params, len(read), SamplingParams())
        return self._run(read, params, priority, _either(progress, use_tqdm))

    def beam_search(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: BeamSearchParams,
        *,
        progress: bool | None = None,
        use_tqdm: bool | None = None,
        lora_request: None = None,
    ) -> list[BeamSearchOutput]:
        """Search the most probable texts for each prompt; `SamplingParams.beam_width` says by which rules. Arguments as in `generate`."""
        outputs = self.generate(prompts, params.sampling_params(), progress=progress, use_tqdm=use_tqdm, lora_request=lora_request)
        return [beam_search_output(output, self.get_tokenizer()) for output in outputs]

    def chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        sampling_params: Params = None,
        *,
        tools: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        chat_template_kwargs: dict[str, Any] | None = None,
        priority: int = 0,
        progress: bool | None = None,
        use_tqdm: bool | None = None,
        lora_request: None = None,
        chat_template: None = None,
        chat_template_content_format: str = "auto",
        continue_final_message: bool = False,
    ) -> list[RequestOutput]:
        """Answer one conversation, or each of several, through the model's chat template.

        Args:
            messages: a conversation (a list of `{"role": ..., "content": ...}`) or a list of conversations; parts that show images are
                listed in `llm_chats.read_chat`.
            sampling_params: as in `generate`; default: no limit but the context window.
            tools: tool definitions for the template.
            add_generation_prompt: end the prompt with the opening of the assistant's turn.
            chat_template_kwargs: further variables for the template.
            priority, progress, use_tqdm, lora_request: as in `generate`.
            chat_template, continue_final_message: None and False; Octavo has neither here.
            chat_template_content_format: no difference; parts of type text become one.

        Raises:
            InvalidRequestError: the model has no chat template, the template refuses, or a prompt cannot be served.
        """
        check_absent("lora_request", lora_request)
        check_absent("chat_template", chat_template)
        check_absent("continue_final_message", continue_final_message or None)
        conversations: Any = [messages] if not messages or isinstance(messages[0], dict) else messages
        variables = {"tools": tools, "add_generation_prompt": add_generation_prompt, **(chat_template_kwargs or {})}
        read = []
        for index, conversation in enumerate(conversations):
            with naming(index, len(conversations)):
                read.append(read_chat(self._engine, conversation, variables))
        params = _one_each(sampling_params, len(read), SamplingParams(max_tokens=None))
        return self._run(read, params, priority, _either(progress, use_tqdm))

    def embed(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        dimensions: int | None = None,
        normalize: bool | None = None,
        prompt_name: str | None = None,
        truncate_prompt_tokens: int | None = None,
        progress: bool | None = None,
        use_tqdm: bool | None = None,
    ) -> list[PoolingRequestOutput[EmbeddingOutput]]:
        """Return the embedding of each text.

        Args:
            prompts: as in `generate`.
            dimensions: only the first so many columns, for models trained so (matryoshka).
            normalize: whether embeddings have length 1; None: as the model's files say.
            prompt_name: one of the model's own instructions, such as "query"; None: its default one.
            truncate_prompt_tokens: cut longer inputs to so many tokens; -1: to as many as the model takes.
            progress, use_tqdm: as in `generate`.

        Raises:
            InvalidRequestError: the model makes no embeddings, or an input cannot be served.
        """
        model_for(self._engine, ("embed",), "embed")
        inputs = text_inputs(self._engine, prompts, prompt_name=prompt_name, most=truncate_prompt_tokens)
        params = PoolingParams(dimensions, normalize)
        return self._pool(inputs, params, lambda rows: EmbeddingOutput(rows[0].tolist()), _either(progress, use_tqdm))

    def classify(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        use_activation: bool | None = None,
        truncate_prompt_tokens: int | None = None,
        progress: bool | None = None,
        use_tqdm: bool | None = None,
    ) -> list[PoolingRequestOutput[ClassificationOutput]]:
        """Return the probability of each label for each text; with `use_activation` False the logits. Arguments as in `embed`."""
        labels = model_for(self._engine, ("classify",), "classify").labels
        inputs = text_inputs(self._engine, prompts, most=truncate_prompt_tokens)

        def output(rows: Any) -> ClassificationOutput:
            return ClassificationOutput(rows[0].tolist(), labels[int(rows[0].argmax())])

        return self._pool(inputs, PoolingParams(use_activation=use_activation), output, _either(progress, use_tqdm))

    def score(
        self,
        text_1: str | Sequence[str],
        text_2: str | Sequence[str],
        *,
        truncate_prompt_tokens: int | None = None,
        progress: bool | None = None,
        use_tqdm: bool | None = None,
    ) -> list[PoolingRequestOutput[ScoringOutput]]:
        """Return how well each text of `text_2` goes with its partner in `text_1`, or with the only one there.

        A model with one label (a cross-encoder, a reranker) reads both together; of an embedding model it is the cosine.
        """
        firsts, seconds = ([text] if isinstance(text, str) else list(text) for text in (text_1, text_2))
        if len(firsts) not in (1, len(seconds)):
            raise InvalidRequestError(f"text_1 has {len(firsts)} texts and text_2 {len(seconds)}; give one, or as many", "text_1")
        model = model_for(self._engine, ("classify", "embed"), "score")
        shown = _either(progress, use_tqdm)
        if model.task == "embed":
            return self._cosines(firsts, seconds, truncate_prompt_tokens, shown)
        if model.width != 1:
            raise InvalidRequestError(f"{self._engine.info.name} scores no pairs: it has {model.width} labels, not one", "model")
        inputs = pair_inputs(self._engine, firsts, seconds, truncate_prompt_tokens)
        return self._pool(inputs, PoolingParams(), lambda rows: ScoringOutput(float(rows[0, 0])), shown)

    def encode(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        pooling_task: str | None = None,
        truncate_prompt_tokens: int | None = None,
        progress: bool | None = None,
        use_tqdm: bool | None = None,
    ) -> list[PoolingRequestOutput[PoolingOutput]]:
        """Return bare vectors: of texts, or with `pooling_task` "token_embed" or "token_classify" of each token. As in `embed` else."""
        model = model_for(self._engine, ("embed", "classify", "token_classify"), "encode")
        token_wise = (pooling_task or model.task).startswith("token_")
        known = {model.task, *(() if model.task == "token_classify" else ("token_embed",))}
        if pooling_task is not None and pooling_task not in known:
            raise InvalidRequestError(f"pooling_task is {pooling_task!r}; it can be {' or '.join(sorted(known))}", "pooling_task")
        inputs = text_inputs(self._engine, prompts, most=truncate_prompt_tokens)
        params = PoolingParams(token_wise=token_wise)
        return self._pool(inputs, params, lambda rows: PoolingOutput(rows if token_wise else rows[0]), _either(progress, use_tqdm))

    def transcribe(
        self,
        audio: str | Path | bytes | NDArray[np.float32],
        *,
        language: str | None = None,
        task: str = "transcribe",
        prompt: str = "",
        temperature: float = 0.0,
        seed: int | None = None,
        max_seconds: float = 3600.0,
    ) -> Transcript:
        """Return what is said in a sound, for speech models.

        Args:
            audio: a file's path or bytes (WAV, FLAC, Ogg, MP3, AIFF; needs `octavo[audio]`), or float32 [samples], 16,000 a second.
            language: code of what is spoken; None: the model says.
            task: "transcribe", or "translate" for English text whatever is spoken.
            prompt: text before, whose spelling and style the model takes up.
            temperature: 0 is greedy.
            seed: makes the draws repeatable.
            max_seconds: a longer file is refused.

        Raises:
            InvalidRequestError: the model hears no speech, or the sound cannot be read.
        """
        options = options_of(task, language, prompt, temperature, seed)
        samples = samples_of(audio, max_seconds)
        return self._thread.call(transcribe(self._engine, samples, options, f"llm-{next(self._ids)}"))

    def stream(self, prompt: Prompt, sampling_params: SamplingParams | None = None) -> Generator[Delta, None, None]:
        """Continue one prompt, yielding what is new as it comes. Leaving the iteration early ends the request."""
        (read,) = read_prompts([prompt], self._engine.tokenizer.encode, self._engine.info)
        return self._stream(self._request(read, sampling_params or SamplingParams(), 0))

    def stream_chat(self, messages: Sequence[Message], sampling_params: SamplingParams | None = None) -> Generator[Delta, None, None]:
        """Answer one conversation, yielding what is new as it comes. Leaving the iteration early ends the request."""
        read = read_chat(self._engine, messages, {"add_generation_prompt": True})
        return self._stream(self._request(read, sampling_params or SamplingParams(max_tokens=None), 0))

    def close(self) -> None:
        """End what runs and stop the engine; calls after that raise `EngineDeadError`. Idempotent, from any thread."""
        self._thread.close()

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _request(self, read: ReadPrompt, params: SamplingParams, priority: int) -> GenerationRequest:
        name = f"llm-{next(self._ids)}"
        return GenerationRequest(name, read.token_ids, params, priority, pictures=read.pictures, media=read.media)

    def _run(self, prompts: list[ReadPrompt], params: list[SamplingParams], priority: int, progress: bool | None) -> list[RequestOutput]:
        requests = [self._request(read, each, priority) for read, each in zip(prompts, params, strict=True)]
        texts = [read.text for read in prompts]
        with _progress_bar(sum(each.n for each in params), sys.stderr.isatty() if progress is None else progress) as on_delta:
            max_in_flight = max(1, self._engine.max_in_flight // max((each.beam_width or each.n for each in params), default=1))
            return self._thread.call(_collect_all(self._engine, requests, texts, max_in_flight, on_delta))

    def _pool(self, inputs: list[PoolingInput], params: PoolingParams, convert: Convert, progress: bool | None) -> list[Any]:
        """The vectors of all inputs, each made an output by `convert`."""
        model = model_for(self._engine, ("embed", "classify", "token_classify"), "vectors")
        width = params.dimensions or (model.token_width if params.token_wise else model.width)
        requests = [
            GenerationRequest(f"llm-{next(self._ids)}", each.token_ids, SamplingParams(), pooling=with_segment(params, each))
            for each in inputs
        ]
        with _progress_bar(len(requests), sys.stderr.isatty() if progress is None else progress) as on_delta:
            pooled = self._thread.call(_pool_all(self._engine, requests, max(1, self._engine.max_in_flight), on_delta))
        return [
            PoolingRequestOutput(request.request_id, convert(matrix_of(data, width)), request.prompt_token_ids, cached)
            for request, (data, cached) in zip(requests, pooled, strict=True)
        ]

    def _cosines(
        self, firsts: list[str], seconds: list[str], most: int | None, progress: bool | None
    ) -> list[PoolingRequestOutput[ScoringOutput]]:
        inputs = text_inputs(self._engine, [*firsts, *seconds], most=most)
        outputs = self._pool(inputs, PoolingParams(use_activation=True), lambda rows: rows[0], progress)
        lefts, rights = outputs[: len(firsts)], outputs[len(firsts) :]
        return [
            replace(right, outputs=ScoringOutput(float(lefts[index if len(firsts) > 1 else 0].outputs @ right.outputs)))
            for index, right in enumerate(rights)
        ]

    def _stream(self, request: GenerationRequest) -> Generator[Delta, None, None]:
        stream = self._thread.call(self._engine.submit(request))
        try:
            while (delta := self._thread.call(_next(stream))) is not None:
                yield delta
        finally:
            self._thread.post(stream.abort)


async def _next(stream: RequestStream) -> Delta | None:
    return await anext(stream, None)


async def _collect_all(
    engine: Engine, requests: Sequence[GenerationRequest], texts: Sequence[str | None], max_in_flight: int, on_delta: OnDelta
) -> list[RequestOutput]:
    """Run all requests, `max_in_flight` at a time; the first that is refused ends all."""
    outputs: list[RequestOutput | None] = [None] * len(requests)

    async def run(index: int) -> None:
        outputs[index] = await _collect(engine, requests[index], texts[index], on_delta)

    await _run_all(len(requests), max_in_flight, run)
    return [output for output in outputs if output is not None]


async def _pool_all(
    engine: Engine, requests: Sequence[GenerationRequest], max_in_flight: int, on_delta: OnDelta
) -> list[tuple[bytes, int]]:
    """The vectors of all requests and the tokens that were cached, `max_in_flight` at a time; the first that is refused ends all."""
    pooled: list[tuple[bytes, int]] = [(b"", 0)] * len(requests)

    async def run(index: int) -> None:
        async with await engine.submit(requests[index]) as stream:
            async for delta in stream:
                if delta.pooled is None:
                    raise InvalidRequestError(delta.error or "the engine was closed before the vectors were computed")
                pooled[index] = (delta.pooled, delta.num_cached_tokens)
                on_delta(delta)

    await _run_all(len(requests), max_in_flight, run)
    return pooled


async def _run_all(count: int, max_in_flight: int, run: Callable[[int], Awaitable[None]]) -> None:
    """Run `run(index)` for each index, `max_in_flight` at a time; the first that fails ends all."""
    todo = iter(range(count))

    async def work() -> None:
        for index in todo:
            with naming(index, count):
                await run(index)

    tasks = [asyncio.create_task(work()) for _ in range(min(count, max_in_flight))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _collect(engine: Engine, request: GenerationRequest, text: str | None, on_delta: OnDelta) -> RequestOutput:
    choices = [CompletionOutput(index) for index in range(request.params.n)]
    output = RequestOutput(request.request_id, text, request.prompt_token_ids, choices)
    async with await engine.submit(request) as stream:
        async for delta in stream:
            _append(output, delta, engine.tokenizer)
            on_delta(delta)
    return output


def _append(output: RequestOutput, delta: Delta, tokenizer: Tokenizer) -> None:
    choice = output.outputs[delta.index]
    choice.text += delta.text
    choice.token_ids += delta.token_ids
    if delta.logprobs is not None:
        choice.logprobs = (choice.logprobs or []) + [logprob_mapping(entry, tokenizer) for entry in delta.logprobs]
        choice.cumulative_logprob = (choice.cumulative_logprob or 0.0) + sum(entry.logprob for entry in delta.logprobs)
    if delta.prompt_logprobs is not None:
        output.prompt_logprobs = [None if entry is None else logprob_mapping(entry, tokenizer) for entry in delta.prompt_logprobs]
    output.num_cached_tokens = max(output.num_cached_tokens, delta.num_cached_tokens)
    if delta.finish_reason is not None:
        choice.finish_reason, choice.stop_reason = delta.finish_reason.value, delta.stop_reason
    if delta.finish_reason is FinishReason.ERROR:
        logger.error("request %s failed: %s", output.request_id, delta.error)


def _either(progress: bool | None, use_tqdm: bool | None) -> bool | None:
    return use_tqdm if progress is None else progress


def _one_each(params: Params, count: int, default: SamplingParams) -> list[SamplingParams]:
    if params is None or isinstance(params, SamplingParams):
        return [params or default] * count
    if len(params) != count:
        raise InvalidRequestError(f"{len(params)} sampling_params for {count} prompts; give one, or one for each", "sampling_params")
    return list(params)


@contextmanager
def _progress_bar(num_choices: int, shown: bool) -> Iterator[OnDelta]:
    """Give the function to call with each delta; it moves a bar on standard error where one is shown."""
    if not shown:
        yield lambda delta: None
        return
    from tqdm import tqdm

    with tqdm(total=num_choices, unit="choices", file=sys.stderr) as bar:
        started, num_tokens = time.perf_counter(), 0

        def on_delta(delta: Delta) -> None:
            nonlocal num_tokens
            num_tokens += len(delta.token_ids)
            bar.set_postfix_str(f"{num_tokens / max(time.perf_counter() - started, 1e-3):.0f} tokens/s", refresh=False)
            bar.update(delta.finish_reason is not None)

        yield on_delta
