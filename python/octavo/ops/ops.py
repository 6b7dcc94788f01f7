"""The contract of every op. A model is written against `Ops` and nothing else, so one `forward` serves every executor.

Letters: T tokens in the step, L rows whose logits are wanted, H query heads, K key/value heads, D head dim, E hidden size,
F feed-forward size, X experts, V vocabulary. `Tensor` is whatever the implementation computes with: a torch tensor, or a symbol of a
program. All activations are float32 matrices; a head is D consecutive columns.
"""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Ops", "Step", "Tensor"]

Tensor = Any
Step = Any
"""The inputs of one step (token ids, positions, where K and V go, who attends to what), as the implementation holds them."""


class Ops(Protocol):
    """One method per op. Weights are what the executor's placement made of the checkpoint's tensors."""

    def embedding(self, step: Step, weight: Any, scale: float) -> Tensor:
        """[T, E]: rows of the table [V, E] for the step's token ids, times scale."""
        ...

    def linear(self, x: Tensor, weight: Any, bias: Any | None) -> Tensor:
        """x @ weight.T + bias: [rows, in] -> [rows, out]."""
        ...

    def lm_head(self, x: Tensor, weight: Any) -> Tensor:
        """x @ weight.T: [L, E] -> [L, V]; the largest logits of a row are in exact arithmetic, whatever `linear` uses for this weight."""
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

    def silu_and_mul(self, x: Tensor) -> Tensor:
        """silu(x[:, :F]) * x[:, F:]: [rows, 2F] -> [rows, F]."""
        ...

    def gelu_tanh_and_mul(self, x: Tensor) -> Tensor:
        """gelu(x[:, :F]) * x[:, F:] with the tanh approximation."""
        ...

    def sigmoid_gate(self, x: Tensor, gate: Tensor) -> Tensor:
        """x * sigmoid(gate): [rows, cols], gate [rows, 1]."""
        ...

    def moe(
        self,
        x: Tensor,
        router_logits: Tensor,
        experts: tuple[tuple[Any, Any], ...],
        *,
        top_k: int,
        renormalise: bool,
        activation: str,
    ) -> Tensor:
        """Sum over a row's top_k experts of weight * down(act(gate(x)) * up(x)): [rows, E] (Shazeer et al. 2017; Jiang et al. 2024).

        experts: X pairs of weights, gate_up [2F, E] and down [E, F]. A row's experts are those of its greatest router_logits [rows, X],
        equal ones by lower id; weights are softmax(router_logits), divided by their sum if `renormalise`. activation: "silu" or
        "gelu_pytorch_tanh".
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

    def store_kv(self, step: Step, k: Tensor, v: Tensor, layer: int) -> None:
        """Write k and v [T, K * D] to the step's slots of the layer's KV cache."""
        ...

    def paged_attention(
        self, step: Step, q: Tensor, layer: int, *, num_heads: int, scale: float, window: int | None, softcap: float | None
    ) -> Tensor:
        """Causal attention of q [T, H * D] over the pages of each token's sequence: [T, H * D].

        A token at position p sees positions max(0, p - window + 1) .. p. Scores are q.k * scale, then
        softcap * tanh(scores / softcap) where a softcap is given.
        """
        ...

    def select_logits_rows(self, step: Step, x: Tensor) -> Tensor:
        """[T, E] -> [L, E]: the tokens whose logits are wanted."""
        ...

    def softcap(self, x: Tensor, cap: float) -> Tensor:
        """cap * tanh(x / cap)."""
        ...
