"""`Ops` that compute nothing: each call is recorded into a graph (`_kernels.Graph`), and tensors are its values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from octavo._kernels import Graph
from octavo.checkpoint.model_config import Routing
from octavo.ops.cache import CacheSpec, LatentKV

__all__ = ["RecordOps"]


class RecordOps:
    """Records a forward pass. `Tensor` is a value's number; `Step` is None, because a program binds the step when it runs."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._record = graph.record
        self._token_types: int | None = None
        self._axis_positions: int | None = None
        self._selected: int | None = None
        self._media: tuple[int, int] | None = None

    def cache(self, spec: CacheSpec) -> int:
        if isinstance(spec, LatentKV):
            return self._graph.latent_kv(spec.latent_dim, spec.rope_dim)
        return self._graph.paged_kv(spec.kv_heads, spec.head_dim, spec.window)

    def state(self, num_elements: int) -> int:
        return self._graph.state(num_elements)

    def embedding(self, step: None, weight: Any, scale: float) -> int:
        return self._record("embedding", (), (weight,), scale=scale)

    def position_embedding(self, step: None, weight: Any, offset: int) -> int:
        return self._record("position_embedding", (), (weight,), offset=offset)

    def token_types(self, step: None) -> int:
        if self._token_types is None:
            self._token_types = self._graph.int_input("token_types")
        return self._token_types

    def lookup(self, ids: int, weight: Any) -> int:
        return self._record("lookup", (ids,), (weight,))

    def patches(self, step: None, num_values: int) -> int:
        return self._graph.float_input("patches", "tokens", num_values)

    def selected(self, step: None, num_side_by_side: int) -> int:
        if self._selected is None:
            self._selected = self._graph.int_input("selected", "media", num_side_by_side)
        return self._selected

    def gather_rows(self, x: int, ids: int) -> int:
        return self._record("gather_rows", (x, ids))

    def weighted_lookup(self, ids: int, weights: int, table: Any) -> int:
        return self._record("weighted_lookup", (ids, weights), (table,))

    def insert_media(self, step: None, x: int, num_levels: int) -> int:
        num_cols = self._graph.num_cols(x)
        self._media = self._graph.float_input("media", "tokens", num_levels * num_cols), self._graph.int_input("is_media")
        media, is_media = self._media
        return self._record("choose_rows", (x, self._graph.columns(media, 0, num_cols) if num_levels > 1 else media, is_media))

    def add_media(self, step: None, x: int, level: int) -> int:
        assert self._media is not None
        media, is_media = self._media
        num_cols = self._graph.num_cols(x)
        added = self.add(x, self._graph.columns(media, level * num_cols, num_cols))
        return self._record("choose_rows", (x, added, is_media))

    def linear(self, x: int, weight: Any, bias: Any | None) -> int:
        return self._record("linear", (x,), (weight, bias))

    def lm_head(self, x: int, weight: Any, bias: Any | None) -> int:
        return self._record("lm_head", (x,), (weight, bias))

    def rms_norm(self, x: int, weight: Any, eps: float) -> int:
        return self._record("rms_norm", (x,), (weight,), eps=eps)

    def add(self, x: int, y: int) -> int:
        return self._record("add", (x, y))

    def add_rms_norm(self, x: int, residual: int, weight: Any, eps: float) -> tuple[int, int]:
        return self._record("add_rms_norm", (x, residual), (weight,), eps=eps)

    def layer_norm(self, x: int, weight: Any, bias: Any | None, eps: float) -> int:
        return self._record("layer_norm", (x,), (weight, bias), eps=eps)

    def mul(self, x: int, y: int) -> int:
        return self._record("mul", (x, y))

    def sigmoid(self, x: int) -> int:
        return self._record("sigmoid", (x,))

    def scale(self, x: int, factor: float) -> int:
        return self._record("scale", (x,), factor=factor)

    def gelu(self, x: int) -> int:
        return self._record("gelu", (x,))

    def gelu_tanh(self, x: int) -> int:
        return self._record("gelu_tanh", (x,))

    def quick_gelu(self, x: int) -> int:
        return self._record("quick_gelu", (x,))

    def silu(self, x: int) -> int:
        return self._record("silu", (x,))

    def relu(self, x: int) -> int:
        return self._record("relu", (x,))

    def relu_squared(self, x: int) -> int:
        return self._record("relu_squared", (x,))

    def tanh(self, x: int) -> int:
        return self._record("tanh", (x,))

    def silu_and_mul(self, x: int) -> int:
        return self._record("silu_and_mul", (x,))

    def gelu_and_mul(self, x: int) -> int:
        return self._record("gelu_and_mul", (x,))

    def gelu_tanh_and_mul(self, x: int) -> int:
        return self._record("gelu_tanh_and_mul", (x,))

    def sigmoid_gate(self, x: int, gate: int) -> int:
        return self._record("sigmoid_gate", (x, gate))

    def route(self, router_logits: int, bias: Any | None, *, top_k: int, routing: Routing) -> tuple[int, int]:
        return self._record("route", (router_logits,), (bias,), top_k=top_k, **asdict(routing))

    def experts(self, x: int, ids: int, weights: int, experts: Any, *, biases: tuple[Any, Any] | None = None, **settings: Any) -> int:
        return self._record("experts", (x, ids, weights), (experts, *(biases or ())), **settings)

    def columns(self, x: int, start: int, count: int) -> int:
        return self._graph.columns(x, start, count)

    def rotary_embedding(self, step: None, x: int, cos_sin: Any, head_dim: int) -> int:
        return self._record("rotary_embedding", (x,), (cos_sin,), head_dim=head_dim)

    def axis_positions(self, step: None, num_axes: int) -> int:
        if self._axis_positions is None:
            self._axis_positions = self._graph.int_input("axis_positions", cols=num_axes)
        return self._axis_positions

    def axis_rotation(self, positions: int, cos_sin: Any, axes: Any) -> int:
        return self._record("axis_rotation", (positions,), (cos_sin, axes))

    def rotate(self, x: int, rotation: int, head_dim: int) -> int:
        return self._record("rotate", (x, rotation), head_dim=head_dim)

    def store_kv(self, step: None, k: int, v: int, cache: int) -> None:
        self._record("store_kv", (k, v), cache=cache)

    def paged_attention(
        self, step: None, q: int, cache: int, *, alibi_slopes: Any | None = None, sinks: Any | None = None, **settings: Any
    ) -> int:
        return self._record("paged_attention", (q,), (alibi_slopes, sinks), cache=cache, **settings)

    def attention(self, step: None, q: int, k: int, v: int, *, windowed: bool = False, **settings: Any) -> int:
        if windowed:
            settings["windowed"] = True
        return self._record("attention", (q, k, v), **settings)

    def pool(self, step: None, x: int, kind: str) -> int:
        return self._record("pool", (x,), kind=kind)

    def head_linear(self, x: int, weight: Any, *, num_heads: int) -> int:
        return self._record("head_linear", (x,), (weight,), num_heads=num_heads)

    def store_latent(self, step: None, latent: int, rope_key: int, cache: int) -> None:
        self._record("store_latent", (latent, rope_key), cache=cache)

    def mla_attention(self, step: None, q: int, q_rope: int, cache: int, *, num_heads: int, scale: float) -> int:
        return self._record("mla_attention", (q, q_rope), cache=cache, num_heads=num_heads, scale=scale)

    def causal_conv(self, step: None, x: int, weight: Any, bias: Any | None, state: int) -> int:
        return self._record("causal_conv", (x,), (weight, bias), state=state)

    def ssm_scan(self, step: None, x: int, b: int, c: int, dt: int, weights: tuple[Any, Any, Any], state: int, **settings: Any) -> int:
        return self._record("ssm_scan", (x, b, c, dt), weights, state=state, **settings)

    def delta_rule(
        self, step: None, qkv: tuple[int, int, int], b: int, dt: int, weights: tuple[Any, Any], state: int, **settings: int
    ) -> int:
        return self._record("delta_rule", (*qkv, b, dt), weights, state=state, **settings)

    def cross_attention(self, step: None, q: int, state: int, **settings: Any) -> int:
        return self._record("cross_attention", (q,), state=state, **settings)

    def gated_rms_norm(self, x: int, gate: int, weight: Any, *, group_size: int, eps: float, norm_first: bool) -> int:
        return self._record("gated_rms_norm", (x, gate), (weight,), group_size=group_size, eps=eps, norm_first=norm_first)

    def select_logits_rows(self, step: None, x: int) -> int:
        return self._record("select_logits_rows", (x,))

    def softcap(self, x: int, cap: float) -> int:
        return self._record("softcap", (x,), cap=cap)
