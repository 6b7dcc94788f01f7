"""`Ops` that compute nothing: each call is recorded into a C++ step program (`_kernels.Program`), and tensors are its buffers."""

from __future__ import annotations

from typing import Any

from octavo._kernels import Program

__all__ = ["RecordOps"]


class RecordOps:
    """Records a forward pass. `Tensor` is a buffer number; `Step` is None, because the program binds the step when it runs."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def embedding(self, step: None, weight: Any, scale: float) -> int:
        return self.program.embedding(weight, scale)

    def linear(self, x: int, weight: Any, bias: Any | None) -> int:
        return self.program.linear(x, weight, bias)

    def lm_head(self, x: int, weight: Any) -> int:
        return self.program.lm_head(x, weight)

    def rms_norm(self, x: int, weight: Any, eps: float) -> int:
        return self.program.rms_norm(x, weight, eps)

    def add(self, x: int, y: int) -> int:
        return self.program.add(x, y)

    def add_rms_norm(self, x: int, residual: int, weight: Any, eps: float) -> tuple[int, int]:
        return self.program.add_rms_norm(x, residual, weight, eps)

    def silu_and_mul(self, x: int) -> int:
        return self.program.silu_and_mul(x)

    def gelu_tanh_and_mul(self, x: int) -> int:
        return self.program.gelu_tanh_and_mul(x)

    def sigmoid_gate(self, x: int, gate: int) -> int:
        return self.program.sigmoid_gate(x, gate)

    def moe(
        self, x: int, router_logits: int, experts: tuple[tuple[Any, Any], ...], *, top_k: int, renormalise: bool, activation: str
    ) -> int:
        return self.program.moe(x, router_logits, experts, top_k, renormalise, activation)

    def columns(self, x: int, start: int, count: int) -> int:
        return self.program.columns(x, start, count)

    def rotary_embedding(self, step: None, x: int, cos_sin: Any, head_dim: int) -> int:
        return self.program.rotary_embedding(x, cos_sin, head_dim)

    def store_kv(self, step: None, k: int, v: int, layer: int) -> None:
        self.program.store_kv(k, v, layer)

    def paged_attention(
        self, step: None, q: int, layer: int, *, num_heads: int, scale: float, window: int | None, softcap: float | None
    ) -> int:
        return self.program.paged_attention(q, layer, num_heads, scale, window, softcap)

    def select_logits_rows(self, step: None, x: int) -> int:
        return self.program.select_logits_rows(x)

    def softcap(self, x: int, cap: float) -> int:
        return self.program.softcap(x, cap)
