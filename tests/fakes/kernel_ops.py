"""Ops of the processor one at a time, called with arrays: each is a graph of one op."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from octavo._kernels import ArrayWeight, EmbeddingWeight, ExpertsWeight, KVCache, LinearWeight, ThreadPool, run_op
from octavo.checkpoint.model_config import Routing

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


def embedding(token_ids: Ints, weight: EmbeddingWeight, scale: float, pool: ThreadPool) -> Floats:
    return run_op("embedding", [], [weight], pool, step={"token_ids": token_ids}, scale=scale)[0]


def linear(x: Floats, weight: LinearWeight, bias: Floats | None, pool: ThreadPool) -> Floats:
    return run_op("linear", [x], [weight, None if bias is None else ArrayWeight(bias)], pool)[0]


def lm_head(x: Floats, weight: LinearWeight, pool: ThreadPool) -> Floats:
    return run_op("lm_head", [x], [weight], pool)[0]


def rms_norm(x: Floats, weight: Floats, eps: float, pool: ThreadPool) -> Floats:
    return run_op("rms_norm", [x], [ArrayWeight(weight)], pool, eps=eps)[0]


def layer_norm(x: Floats, weight: Floats, bias: Floats | None, eps: float, pool: ThreadPool) -> Floats:
    weights = [ArrayWeight(weight), None if bias is None else ArrayWeight(bias)]
    return run_op("layer_norm", [x], weights, pool, eps=eps)[0]


def activation(name: str, x: Floats, pool: ThreadPool) -> Floats:
    return run_op(name, [x], [], pool)[0]


def silu_and_mul(x: Floats, pool: ThreadPool) -> Floats:
    return run_op("silu_and_mul", [x], [], pool)[0]


def gelu_and_mul(x: Floats, pool: ThreadPool) -> Floats:
    return run_op("gelu_and_mul", [x], [], pool)[0]


def gelu_tanh_and_mul(x: Floats, pool: ThreadPool) -> Floats:
    return run_op("gelu_tanh_and_mul", [x], [], pool)[0]


def sigmoid_gate(x: Floats, gate: Floats, pool: ThreadPool) -> Floats:
    return run_op("sigmoid_gate", [x, gate], [], pool)[0]


def softcap(x: Floats, cap: float, pool: ThreadPool) -> Floats:
    return run_op("softcap", [x], [], pool, cap=cap)[0]


def rotary_embedding(x: Floats, positions: Ints, cos_sin: Floats, head_dim: int, pool: ThreadPool) -> Floats:
    return run_op("rotary_embedding", [x], [ArrayWeight(cos_sin)], pool, step={"positions": positions}, head_dim=head_dim)[0]


def route(router_logits: Floats, top_k: int, routing: Routing, pool: ThreadPool, bias: Floats | None = None) -> tuple[Ints, Floats]:
    biases = [None if bias is None else ArrayWeight(bias)]
    ids, weights = run_op("route", [router_logits], biases, pool, top_k=top_k, **asdict(routing))
    return ids, weights


def experts(
    x: Floats,
    ids: Ints,
    weights: Floats,
    blocks: ExpertsWeight,
    activation: str,
    pool: ThreadPool,
    biases: tuple[Floats, Floats] | None = None,
    **settings: bool | float,
) -> Floats:
    arrays = [ArrayWeight(bias) for bias in biases or ()]
    return run_op("experts", [x, ids, weights], [blocks, *arrays], pool, activation=activation, **settings)[0]


def store_kv(k: Floats, v: Floats, cache: KVCache, layer: int, slot_mapping: Ints, pool: ThreadPool) -> None:
    run_op("store_kv", [k, v], [], pool, cache, layer, step={"slot_mapping": slot_mapping})


def paged_attention(
    q: Floats,
    cache: KVCache,
    layer: int,
    query_indptr: Ints,
    context_lens: Ints,
    block_tables: Ints,
    num_heads: int,
    scale: float,
    window: int | None,
    softcap: float | None,
    pool: ThreadPool,
    alibi_slopes: Floats | None = None,
    sinks: Floats | None = None,
    chunk: int | None = None,
) -> Floats:
    step = {"query_indptr": query_indptr, "context_lens": context_lens, "block_tables": block_tables}
    settings = {"num_heads": num_heads, "scale": scale, "softcap": softcap, "chunk": chunk}
    weights = [None if array is None else ArrayWeight(array) for array in (alibi_slopes, sinks)]
    return run_op("paged_attention", [q], weights, pool, cache, layer, window, step, **settings)[0]
