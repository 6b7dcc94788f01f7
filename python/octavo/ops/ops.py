"""The contract of every op. A model is written against `Ops` and nothing else, so one `forward` serves every executor.

Letters: T tokens in the step, R sequences in it, L rows whose logits are wanted, H query heads, K key/value heads, D head dim,
E hidden size, F feed-forward size, X experts, V vocabulary. `Tensor` is whatever the implementation computes with: a torch tensor, or a
symbol of a program. A tensor is a matrix of the executor's own float type, where an op does not say otherwise; a head is D consecutive
columns.
"""

from __future__ import annotations

from typing import Any, Protocol

from octavo.checkpoint.model_config import Routing
from octavo.ops.cache import CacheSpec

__all__ = ["Cache", "Ops", "State", "Step", "Tensor"]

Tensor = Any
Step = Any
"""The inputs of one step (token ids, positions, where K and V go, who attends to what), as the implementation holds them."""
Cache = Any
"""The cache of one layer: what `Ops.cache` gave for its spec."""
State = Any
"""The state of one layer: what `Ops.state` gave for its size."""


class Ops(Protocol):
    """One method per op. Weights are what the executor's placement made of the checkpoint's tensors."""

    def cache(self, spec: CacheSpec) -> Cache:
        """A cache for one more layer."""
        ...

    def state(self, num_elements: int) -> State:
        """Float32 that one more layer keeps for each running sequence; zeros where a sequence begins."""
        ...

    def embedding(self, step: Step, weight: Any, scale: float) -> Tensor:
        """[T, E]: rows of the table [V, E] for the step's token ids, times scale."""
        ...

    def position_embedding(self, step: Step, weight: Any, offset: int) -> Tensor:
        """[T, E]: row position + offset of the table [P, E] for each of the step's tokens (Gehring et al. 2017)."""
        ...

    def token_types(self, step: Step) -> Tensor:
        """int32 [T, 1]: the token type (segment) of each of the step's tokens."""
        ...

    def lookup(self, ids: Tensor, weight: Any) -> Tensor:
        """[rows, E]: rows of the table [V, E] for int32 ids [rows, 1]."""
        ...

    def patches(self, step: Step, num_values: int) -> Tensor:
        """[T, num_values]: the pixels of a tower's patches, which are its tokens."""
        ...

    def selected(self, step: Step, num_side_by_side: int) -> Tensor:
        """int32 [M, num_side_by_side]: the patches that make up each of the M rows that a decoder reads."""
        ...

    def gather_rows(self, x: Tensor, ids: Tensor) -> Tensor:
        """[M, F * E]: rows ids[m, 0], ids[m, 1], ... of x [rows, E] side by side; ids [M, F] of `selected`."""
        ...

    def weighted_lookup(self, ids: Tensor, weights: Tensor, table: Any) -> Tensor:
        """[rows, E]: the sum over i of weights[:, i] times row ids[:, i] of the table [V, E]; ids int32, weights [rows, F]."""
        ...

    def insert_media(self, step: Step, x: Tensor, num_levels: int) -> Tensor:
        """[T, E]: a tower's rows in place of those of x that belong to placeholder tokens: the first of `num_levels` for each."""
        ...

    def add_media(self, step: Step, x: Tensor, level: int) -> Tensor:
        """[T, E]: x, to whose rows of placeholder tokens the tower's of a level are added (DeepStack; Meng et al. 2024).

        `insert_media` has been called before.
        """
        ...

    def linear(self, x: Tensor, weight: Any, bias: Any | None) -> Tensor:
        """x @ weight.T + bias: [rows, in] -> [rows, out]."""
        ...

    def lm_head(self, x: Tensor, weight: Any, bias: Any | None) -> Tensor:
        """x @ weight.T + bias: [L, E] -> float32 [L, V].

        A row's largest logits are exact, whatever arithmetic `linear` uses for this weight.
        """
        ...

    def rms_norm(self, x: Tensor, weight: Any, eps: float) -> Tensor:
        """x / sqrt(mean(x^2) + eps) * weight over each group of len(weight) columns (Zhang & Sennrich 2019)."""
        ...

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """x + y."""
        ...

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Any, eps: float) -> tuple[Tensor, Tensor]:
        """(rms_norm(x + residual), x + residual)."""
        ...

    def layer_norm(self, x: Tensor, weight: Any, bias: Any | None, eps: float) -> Tensor:
        """(x - mean(x)) / sqrt(var(x) + eps) * weight + bias over each group of len(weight) columns (Ba et al. 2016)."""
        ...

    def mul(self, x: Tensor, y: Tensor) -> Tensor:
        """x * y."""
        ...

    def sigmoid(self, x: Tensor) -> Tensor:
        """1 / (1 + e^-x)."""
        ...

    def scale(self, x: Tensor, factor: float) -> Tensor:
        """factor * x."""
        ...

    def gelu(self, x: Tensor) -> Tensor:
        """gelu(x), exact: x / 2 * (1 + erf(x / sqrt(2)))."""
        ...

    def gelu_tanh(self, x: Tensor) -> Tensor:
        """gelu(x) with the tanh approximation."""
        ...

    def quick_gelu(self, x: Tensor) -> Tensor:
        """x * sigmoid(1.702 x), an approximation of gelu that is not that of `gelu_tanh` (Hendrycks & Gimpel 2016)."""
        ...

    def silu(self, x: Tensor) -> Tensor:
        """x * sigmoid(x)."""
        ...

    def relu(self, x: Tensor) -> Tensor:
        """max(x, 0)."""
        ...

    def relu_squared(self, x: Tensor) -> Tensor:
        """max(x, 0)^2 (So et al. 2021, Primer)."""
        ...

    def tanh(self, x: Tensor) -> Tensor:
        """tanh(x)."""
        ...

    def silu_and_mul(self, x: Tensor) -> Tensor:
        """silu(x[:, :F]) * x[:, F:]: [rows, 2F] -> [rows, F]."""
        ...

    def gelu_and_mul(self, x: Tensor) -> Tensor:
        """gelu(x[:, :F]) * x[:, F:] with gelu(z) = z / 2 * (1 + erf(z / sqrt(2))) (Hendrycks & Gimpel 2016)."""
        ...

    def gelu_tanh_and_mul(self, x: Tensor) -> Tensor:
        """gelu(x[:, :F]) * x[:, F:] with the tanh approximation."""
        ...

    def sigmoid_gate(self, x: Tensor, gate: Tensor) -> Tensor:
        """x * sigmoid(gate): [rows, cols], gate [rows, 1]."""
        ...

    def route(self, router_logits: Tensor, bias: Any | None, *, top_k: int, routing: Routing) -> tuple[Tensor, Tensor]:
        """The experts of each row and their weights: [rows, X] -> int32 [rows, top_k], float32 [rows, top_k].

        Scores are softmax(router_logits) or sigmoid(router_logits). A row's experts are those of its greatest scores + bias [X], equal
        ones by lower id, among those of its `top_groups` best groups; a group is worth the sum of its `group_best` greatest. Weights
        are scale * score, divided by max(their sum, least_sum) if `renormalise` (Shazeer et al. 2017; Jiang et al. 2024; DeepSeek-V3
        2024). With scoring "sparsemixer" the weight of each expert in turn is its softmax among those that were not taken before and
        whose logits l are within 2 * jitter of the greatest m of them: (m - l) / max(|l|, m) (Liu et al. 2024).
        """
        ...

    def experts(
        self,
        x: Tensor,
        ids: Tensor,
        weights: Tensor,
        experts: Any,
        *,
        activation: str,
        biases: tuple[Any, Any] | None = None,
        weighs_input: bool = False,
        alpha: float | None = None,
        limit: float | None = None,
    ) -> Tensor:
        """Sum over a row's experts of weight * down(act(gate(x)) * up(x)): [rows, E]; of down(act(gate(weight x)) * up(weight x)) if
        `weighs_input`.

        ids, weights [rows, top_k]: of `route`. experts: the handle that `Weights.experts` gave. biases: of gate and up [X, 2F] and of
        down [X, E]. activation: "silu", "gelu", "gelu_pytorch_tanh", or "clamped_swiglu": (min(max(up, -limit), limit) + 1) * g *
        sigmoid(alpha * g) with g = min(gate, limit) (gpt-oss 2025).
        """
        ...

    def columns(self, x: Tensor, start: int, count: int) -> Tensor:
        """x[:, start:start + count], a view."""
        ...

    def rotary_embedding(self, step: Step, x: Tensor, cos_sin: Any, head_dim: int) -> Tensor:
        """Rotate each head of x by its token's position; halves convention (Su et al. 2021; GPT-NeoX).

        cos_sin [positions, rotary_dim]: cosines of the rotary_dim / 2 angles, then their sines. Columns of a head past
        rotary_dim stay as they are.
        """
        ...

    def axis_positions(self, step: Step, num_axes: int) -> Tensor:
        """int32 [T, A]: the position of each of the step's tokens on each of A axes, such as time, row and column."""
        ...

    def axis_rotation(self, positions: Tensor, cos_sin: Any, axes: Any) -> Tensor:
        """float32 [T, 2 C]: the rotation of each token, whose angle i turns with axis axes[i] (Wang et al. 2024, Qwen2-VL).

        cos_sin [positions, 2 C] as in `rotary_embedding`; axes [C] whole numbers. Columns i and C + i are those of row
        positions[:, axes[i]] of the table.
        """
        ...

    def rotate(self, x: Tensor, rotation: Tensor, head_dim: int) -> Tensor:
        """Rotate each head of x as `rotary_embedding` does, by its token's row of `axis_rotation`."""
        ...

    def store_kv(self, step: Step, k: Tensor, v: Tensor, cache: Cache) -> None:
        """Write k and v [T, K * D] to the step's slots of the cache."""
        ...

    def paged_attention(
        self,
        step: Step,
        q: Tensor,
        cache: Cache,
        *,
        num_heads: int,
        scale: float,
        softcap: float | None = None,
        alibi_slopes: Any | None = None,
        sinks: Any | None = None,
        chunk: int | None = None,
    ) -> Tensor:
        """Causal attention of q [T, H * D] over the pages of each token's sequence: [T, H * D].

        A token at position p sees positions max(0, p - window + 1) .. p, with the cache's window; of those, with a chunk, the ones from
        p // chunk * chunk on. Scores are q.k * scale, then softcap * tanh(scores / softcap) where a softcap is given, less a head's slope
        times the distance where alibi_slopes [H] are given (Press et al. 2022). With sinks [H], the softmax of a head has one more
        position of that score, whose value is zero (gpt-oss 2025).
        """
        ...

    def attention(
        self,
        step: Step,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        num_heads: int,
        num_kv_heads: int,
        scale: float,
        max_distance: int | None,
        windowed: bool = False,
    ) -> Tensor:
        """Attention of whole sequences to themselves, both ways: q [T, H * D], k, v [T, K * D] -> [T, H * D].

        A token sees those of its sequence that are at most max_distance positions away, all of them without one; if `windowed`, those of
        its window, of which a step of a tower has several one after the other. Scores are q.k * scale.
        All tokens of a sequence are in the step.
        """
        ...

    def cross_attention(self, step: Step, q: Tensor, state: State, *, num_heads: int, num_positions: int, scale: float) -> Tensor:
        """Attention of q [T, H * D] to all of num_positions keys and values [M, H * D]: [T, H * D] (Vaswani et al. 2017).

        state: the keys and values of each sequence, which the executor writes before the sequence's first step; H * P * 16 * (D + D16)
        elements, P = M / 16 and D16 = D both rounded up to whole pages of 16. Scores are q.k * scale.
        """
        ...

    def pool(self, step: Step, x: Tensor, kind: str) -> Tensor:
        """[T, E] -> [R, E]: of each of the step's R sequences the last row ("last"), the first ("cls"), or the mean of all ("mean")."""
        ...

    def head_linear(self, x: Tensor, weight: Any, *, num_heads: int) -> Tensor:
        """Each head's columns times a matrix [K, N] of its own, weight [H * K, N]: [rows, H * K] -> [rows, H * N]."""
        ...

    def store_latent(self, step: Step, latent: Tensor, rope_key: Tensor, cache: Cache) -> None:
        """Write latent [T, L] and rope_key [T, R] to the step's slots of a latent cache."""
        ...

    def mla_attention(self, step: Step, q: Tensor, q_rope: Tensor, cache: Cache, *, num_heads: int, scale: float) -> Tensor:
        """Causal attention of q [T, H * L] and q_rope [T, H * R] over a latent cache: [T, H * L] (DeepSeek-V2 2024, absorbed).

        A head's score is (q . latent + q_rope . rope_key) * scale; its result the sum of latents, weighted by the softmax of scores.
        """
        ...

    def causal_conv(self, step: Step, x: Tensor, weight: Any, bias: Any | None, state: State) -> Tensor:
        """silu(bias + sum over k of weight[k] * x of the sequence's token t - K + 1 + k): [T, C], zeros before its first; weight [K, C].

        state: (K - 1) * C elements, its last K - 1 tokens.
        """
        ...

    def ssm_scan(
        self,
        step: Step,
        x: Tensor,
        b: Tensor,
        c: Tensor,
        dt: Tensor,
        weights: tuple[Any, Any, Any],
        state: State,
        *,
        num_heads: int,
        num_groups: int,
        dt_min: float,
        dt_max: float | None,
    ) -> Tensor:
        """The selective scan of Mamba-2 (Dao & Gu 2024) over the tokens of each sequence: x [T, H * P] -> [T, H * P].

        For each head with dt' = clamp(softplus(dt + dt_bias), dt_min, dt_max): S = e^(dt' a) S + dt' b x^T, y = S^T c + d x. weights: a,
        dt_bias, d [H] each; b, c [T, G * N], dt [T, H]. state: H * N * P16 elements, P16 = P rounded up to 16.
        """
        ...

    def delta_rule(
        self,
        step: Step,
        qkv: tuple[Tensor, Tensor, Tensor],
        b: Tensor,
        dt: Tensor,
        weights: tuple[Any, Any],
        state: State,
        *,
        num_heads: int,
        num_key_heads: int,
    ) -> Tensor:
        """The gated delta rule (Yang et al. 2024) over the tokens of each sequence: v [T, H * P] -> [T, H * P].

        For each head with decay = e^(a softplus(dt + dt_bias)): S = decay S; S += k (sigmoid(b) (v - S^T k))^T; y = S^T q. q, k
        [T, Hk * D], b, dt [T, H]; weights: a, dt_bias [H] each. state: H * D * P16 elements, P16 = P rounded up to 16.
        """
        ...

    def gated_rms_norm(self, x: Tensor, gate: Tensor, weight: Any, *, group_size: int, eps: float, norm_first: bool) -> Tensor:
        """rms_norm(x * silu(gate)), or rms_norm(x) * silu(gate) if norm_first, over groups of columns; weight of a row or of one group."""
        ...

    def select_logits_rows(self, step: Step, x: Tensor) -> Tensor:
        """[T, E] -> [L, E]: the tokens whose logits are wanted."""
        ...

    def softcap(self, x: Tensor, cap: float) -> Tensor:
        """cap * tanh(x / cap)."""
        ...
