"""An engine without a model: the interface of `Engine`, deltas from a script."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import numpy as np

from fakes.fake_tokenizer import FakeTokenizer
from octavo.engine.model_info import ModelInfo
from octavo.engine.request_stream import RequestStream
from octavo.engine.stats import EngineObserver, EngineStats, RequestSummary
from octavo.errors import EngineDeadError, InvalidRequestError, QueueFullError
from octavo.multimodal import ImageInputs
from octavo.types import Delta, FinishReason, GenerationRequest, KvBlocks, TokenLogprobs

__all__ = ["ChattyTokenizer", "FakeImages", "FakeTemplate", "Script", "ScriptedEngine", "deltas_script", "endless_script", "words_script"]

Script = Callable[[GenerationRequest], AsyncIterator[Delta]]


class FakeTemplate:
    """Writes `<role>content` lines; refuses a first turn by the assistant, as real templates do."""

    source = "<role>content, reasoning_effort"

    def render(
        self, messages: list[dict], /, *, tools: list[dict] | None = None, add_generation_prompt: bool = True, **kwargs: object
    ) -> str:
        if messages[0]["role"] == "assistant":
            raise InvalidRequestError("the chat template refuses these messages: the first turn is the user's", "messages")
        head = "".join(f"[{key}={value}]" for key, value in kwargs.items())
        turns = "".join(f"<{message['role']}>{_written(message['content'])}\n" for message in messages)
        return head + turns + ("<assistant>" if add_generation_prompt else "")


def _written(content: str | list[dict]) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "~") for part in content)


class ChattyTokenizer(FakeTokenizer):
    """The toy tokenizer with a chat template."""

    chat_template: FakeTemplate | None = FakeTemplate()


class FakeImages:
    """Prepares images that have one token each: "~", which `FakeTemplate` writes for them."""

    image_token = "~"
    most_tokens = 1

    def process(self, image: np.ndarray) -> ImageInputs:
        ints = np.zeros((1, 1), np.int32)
        return ImageInputs(np.full((1, 3), image.mean(), np.float32), ints[0], (1,), ints, self.image_token)


class ScriptedEngine:
    """Answers every request with `script`; by default the words of `answer`, one delta each."""

    def __init__(
        self, answer: str = "Hello, wörld!", *, script: Script | None = None, max_waiting: int = 100, max_model_len: int = 512
    ) -> None:
        self.tokenizer = ChattyTokenizer()
        vocab_size = self.tokenizer.vocab_size
        self.info = ModelInfo("toy", "/models/toy", max_model_len=max_model_len, vocab_size=vocab_size, created=1700000000)
        self.images: FakeImages | None = None
        self.dead: str | None = None
        self.died = False
        self.requests: list[GenerationRequest] = []
        self.aborted: list[str] = []
        self.blocks = [KvBlocks(None, bytes((0, 1, 2, 3)) * 25)]
        self._live: dict[str, tuple[RequestStream, asyncio.Task[None]]] = {}
        self._ended: defaultdict[str, set[int]] = defaultdict(set)
        self._observers: list[EngineObserver] = []
        self._max_waiting = max_waiting
        self._script = script or words_script(answer)

    @property
    def num_live(self) -> int:
        return len(self._live)

    def add_observer(self, observer: EngineObserver) -> None:
        self._observers.append(observer)

    async def start(self) -> None:
        """Nothing to start."""

    async def wait_dead(self) -> str:
        return await asyncio.Future()  # never

    async def close(self, drain_s: float = 0.0) -> None:
        tasks = [task for _, task in self._live.values()]
        if tasks and drain_s:
            await asyncio.wait(tasks, timeout=drain_s)
        for stream, _ in list(self._live.values()):
            stream.abort()

    async def submit(self, request: GenerationRequest) -> RequestStream:
        self._check(request)
        self.requests.append(request)
        stream = RequestStream(request, lambda: self._abort(request))
        self._live[request.request_id] = (stream, asyncio.ensure_future(self._run(request, stream)))
        for observer in self._observers:
            observer.queued(request)
        return stream

    def stats(self) -> EngineStats:
        return EngineStats(
            num_running=self.num_live,
            num_waiting=0,
            kv_usage=0.25,
            prompt_tokens=10,
            cached_prompt_tokens=4,
            generation_tokens=20,
            finished={FinishReason.STOP: 3, FinishReason.ABORT: len(self.aborted)},
            preemptions=1,
            steps=7,
        )

    async def kv_blocks(self) -> list[KvBlocks]:
        return self.blocks

    def _check(self, request: GenerationRequest) -> None:
        if self.dead is not None:
            raise EngineDeadError(self.dead)
        if len(self._live) >= self._max_waiting:
            raise QueueFullError(f"{self._max_waiting} requests wait already; send it again later")
        ids, window = request.prompt_token_ids, self.info.max_model_len
        if not ids or not all(0 <= token_id < self.info.vocab_size for token_id in ids):
            raise InvalidRequestError("the prompt is empty or has a token id out of the vocabulary", "prompt")
        if len(ids) + 1 > window:
            raise InvalidRequestError(f"the prompt has {len(ids)} tokens; the context window holds {window}", "prompt")
        if len(ids) + (request.params.max_tokens or 1) > window:
            raise InvalidRequestError("prompt and max_tokens together exceed the context window", "max_tokens")

    async def _run(self, request: GenerationRequest, stream: RequestStream) -> None:
        begun: set[int] = set()
        async for delta in self._script(request):
            for observer in self._observers:
                if not begun:
                    observer.first_token(request, 0.01)
                elif delta.index in begun:
                    observer.inter_token(request, 0.002)
            begun.add(delta.index)
            if delta.finish_reason is not None:
                self._ended[request.request_id].add(delta.index)
            stream.put(delta)
        self._live.pop(request.request_id, None)
        summary = RequestSummary((FinishReason.STOP,), len(request.prompt_token_ids), 4, 5, 0.01, 0.05, 0.004)
        for observer in self._observers:
            observer.finished(request, summary)

    def _abort(self, request: GenerationRequest) -> None:
        live = self._live.pop(request.request_id, None)
        if live is None:
            return
        stream, task = live
        task.cancel()
        self.aborted.append(request.request_id)
        for index in set(range(request.params.n)) - self._ended[request.request_id]:
            stream.put(Delta(index, finish_reason=FinishReason.ABORT))


def words_script(answer: str, interval_s: float = 0.0) -> Script:
    """Each choice gets the words of `answer`, then a finish reason; `max_tokens` cuts it (tokens are bytes)."""

    async def script(request: GenerationRequest) -> AsyncIterator[Delta]:
        size = len(answer.encode())
        limit = request.params.max_tokens or size
        words = answer.encode()[:limit].decode(errors="ignore").split(" ")
        for position, word in enumerate(words):
            text = word if position == len(words) - 1 else word + " "
            for index in range(request.params.n):
                yield _described(request, Delta(index, text, list(text.encode()), num_cached_tokens=4), first=position == 0)
                await asyncio.sleep(interval_s)
        reason = FinishReason.LENGTH if size > limit else FinishReason.STOP
        for index in range(request.params.n):
            yield _described(request, Delta(index, finish_reason=reason, num_cached_tokens=4), first=False)

    return script


def endless_script(interval_s: float = 0.0, text: str = "x" * 200) -> Script:
    """A choice that never ends."""

    async def script(request: GenerationRequest) -> AsyncIterator[Delta]:
        while True:
            yield Delta(0, text, [120])
            await asyncio.sleep(interval_s)

    return script


def deltas_script(*deltas: Delta) -> Script:
    """Exactly these deltas."""

    async def script(request: GenerationRequest) -> AsyncIterator[Delta]:
        for delta in deltas:
            yield delta
            await asyncio.sleep(0)

    return script


def _described(request: GenerationRequest, delta: Delta, *, first: bool) -> Delta:
    """Add the log-probabilities that the request asks for."""
    params = request.params
    if params.logprobs is not None:
        delta = replace(delta, logprobs=[_logprobs(token_id, params.logprobs) for token_id in delta.token_ids])
    if first and delta.index == 0 and params.prompt_logprobs is not None:
        entries = [_logprobs(token_id, params.prompt_logprobs) for token_id in request.prompt_token_ids[1:]]
        delta = replace(delta, prompt_logprobs=[None, *entries])
    return delta


def _logprobs(token_id: int, num_top: int) -> TokenLogprobs:
    """The token is the second best, after its successor."""
    ranked = [(token_id + 1) % 256, token_id, *((token_id + 2 + rank) % 256 for rank in range(62))]
    return TokenLogprobs(token_id, -1.5, 2, tuple((other, -0.5 - rank) for rank, other in enumerate(ranked[:num_top])))
