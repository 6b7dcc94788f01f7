"""Hyper-parameters of a model, normalised: what layers and executors read, whatever the family's files call it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from octavo.checkpoint.pooling_config import PoolingConfig

__all__ = ["DeltaConfig", "HybridScales", "MlaConfig", "ModelConfig", "MoeConfig", "PositionScale", "RopeConfig", "Routing", "SsmConfig"]


@dataclass(frozen=True, slots=True)
class RopeConfig:
    """Rotary embedding of one kind of layer.

    Attributes:
        theta: base of the frequencies.
        rotary_dim: columns of a head that are rotated, the first ones.
        scaling: a key of `rope_config.SCALINGS`.
        parameters: the scaling's own settings (factor, low_freq_factor, ...), checked.
        axes: of each frequency, the axis of positions that turns it; empty: positions have one.
    """

    theta: float
    rotary_dim: int
    scaling: str = "default"
    parameters: dict[str, Any] = field(default_factory=dict)
    axes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Routing:
    """How a router chooses experts and weighs them; `Ops.route` has the formulas.

    Attributes:
        renormalise: whether the weights of a token's experts are made to add up to 1.
        scoring: softmax, sigmoid or sparsemixer.
        num_groups, top_groups, group_best: groups of experts, those of them that a token may take from, and how many of a group's best
            experts say what it is worth.
        scale: factor of the weights.
        least_sum: what weights are divided by at least, where they are renormalised.
        jitter: how far from the greatest logit the sparsemixer looks.
    """

    renormalise: bool
    scoring: str = "softmax"
    num_groups: int = 1
    top_groups: int = 1
    group_best: int = 1
    scale: float = 1.0
    least_sum: float = 0.0
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class MlaConfig:
    """Multi-head latent attention. Sizes are numbers of elements.

    Attributes:
        q_rank: of the latent of which queries are made; None: they are made of the hidden state.
        kv_rank: of the latent of which keys and values are made, L.
        nope_dim, rope_dim: of a head's query and key, the part that is not rotated and the one that is, R.
        value_dim: of a head's value.
        bias: whether the projections into latents and the one out have biases.
        paired: whether files rotate pairs of neighbours.
    """

    q_rank: int | None
    kv_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int
    bias: bool
    paired: bool


@dataclass(frozen=True, slots=True)
class HybridScales:
    """Factors of a hybrid's parts (Falcon-H1): of what goes into attention and mixer, and of what comes out.

    Attributes:
        mlp: of the gate before its activation, and of the block's output.
        projected: of the mixer's gate, x, b, c and dt.
    """

    attention_in: float
    attention_out: float
    mixer_in: float
    mixer_out: float
    mlp: tuple[float, ...]
    projected: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SsmConfig:
    """Mamba-2 mixers. Sizes are numbers of elements.

    Attributes:
        num_heads, head_dim: heads, and channels of each.
        state_size: of a channel's state, N.
        num_groups: heads of a group share what writes into the state and what reads from it.
        conv_kernel: tokens that the convolution sees.
        conv_bias, proj_bias: whether the convolution, and the projections, have biases.
        norm_eps: of the gated norm.
        dt_min, dt_max: bounds of a token's time step; None: no upper one.
        norm: where the norm stands: "behind" the gate, "before" it, or "none".
        out_bias: whether the projection out has a bias; None: as the other one.
        scales: factors of Falcon-H1; None in models without.
    """

    num_heads: int
    head_dim: int
    state_size: int
    num_groups: int
    conv_kernel: int
    conv_bias: bool
    proj_bias: bool
    norm_eps: float
    dt_min: float
    dt_max: float | None
    norm: str = "behind"
    out_bias: bool | None = None
    scales: HybridScales | None = None


@dataclass(frozen=True, slots=True)
class DeltaConfig:
    """Gated delta nets. Sizes are numbers of elements.

    Attributes:
        num_key_heads, key_dim: heads of queries and keys, and their size.
        num_heads, value_dim: heads of values, a multiple of those of keys, and their size.
        conv_kernel: tokens that the convolution sees.
    """

    num_key_heads: int
    key_dim: int
    num_heads: int
    value_dim: int
    conv_kernel: int


@dataclass(frozen=True, slots=True)
class PositionScale:
    """Factor of a query at position p: 1 + strength * log(1 + floor((p + 1) / floor))."""

    floor: float
    strength: float


@dataclass(frozen=True, slots=True)
class MoeConfig:
    """Mixtures of experts. Sizes are numbers of elements.

    Attributes:
        top_k: experts that a token passes through.
        expert_size: feed-forward size of one expert.
        shared_expert_size: feed-forward size of the expert that every token passes through; None without.
        sparse_layers: per layer, whether it has experts; the others have one feed-forward block of `intermediate_size`.
        shared_gate: whether a sigmoid weighs the shared expert.
        correction_bias: whether a bias that is no part of the weights takes part in the choice.
        weighs_input: whether an expert's weight is a factor of its input instead of its output.
    """

    num_experts: int
    top_k: int
    expert_size: int
    routing: Routing
    shared_expert_size: int | None
    sparse_layers: tuple[bool, ...]
    shared_gate: bool = True
    correction_bias: bool = False
    weighs_input: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One decoder or encoder. Sizes are numbers of elements.

    Attributes:
        attention_scale: factor of q.k before the softmax.
        windows: per layer, how many positions a token attends to, itself included; None: all before it. Of an encoder as many to each side.
        ropes: per layer; None where positions are not rotated.
        moe: the mixtures of experts; None in models without.
        activation: of the feed-forward block, by its name in config.json.
        qkv_bias, out_bias, mlp_bias: whether these projections have biases.
        attention_softcap: bound of the attention scores; None without.
        logits_softcap: bound of the logits; None without.
        norm: of whole rows: "rms", "layer", or "layer_unbiased".
        head_bias: whether the logits have a bias.
        alibi_slopes: per head, what a score loses with each position that a token lies further back; None without.
        parallel_norms: norms of a block whose attention and feed-forward stand side by side: 1, or 2 where each has its own; 0 where
            they follow each other.
        causal: whether a token sees only those before it; of an encoder it sees the whole text, so that nothing is cached.
        num_token_types: rows of the table of token types; 0 without.
        position_offset: rows of the table of positions before that of the first one.
        classifier_bias, classifier_activation: of the layer before a classifier's last, where the family has one.
        pooling: how the model makes vectors; None: it makes tokens.
        reads_media: whether rows of a vision tower, or a client's own, may stand in place of embeddings.
        media_levels: rows of the tower for each placeholder: the first in place of its embedding, others added behind the first layers.
        through_transformers: whether transformers builds the layers, of which then nothing is said here.
        swiglu: alpha and limit of the clamped activation of experts (`Ops.experts`).
        qk_norm: whether queries and keys are normalised, in families where that is a setting.
        mla: the attention over latents; None in models without.
        ssm, delta: the mixers that keep a state; None in models without.
        recurrent_layers: per layer, whether such a mixer stands in for attention; empty where it does nowhere or everywhere.
        query_scale: how queries of layers that rotate nothing grow with their position; None: they do not.
        source_positions: rows that an encoder makes of a sequence's own input, to which layers attend; 0 in models without.
        embedding_scale, residual_scale, logits_scale: factors of the embeddings, of what a block adds, and of the logits.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_position_embeddings: int
    norm_eps: float
    tie_word_embeddings: bool
    attention_scale: float
    windows: tuple[int | None, ...]
    ropes: tuple[RopeConfig | None, ...]
    moe: MoeConfig | None = None
    activation: str = "silu"
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    attention_softcap: float | None = None
    logits_softcap: float | None = None
    norm: str = "rms"
    head_bias: bool = False
    alibi_slopes: tuple[float, ...] | None = None
    parallel_norms: int = 0
    swiglu: tuple[float, float] = (1.0, 0.0)
    qk_norm: bool = False
    query_scale: PositionScale | None = None
    mla: MlaConfig | None = None
    ssm: SsmConfig | None = None
    delta: DeltaConfig | None = None
    recurrent_layers: tuple[bool, ...] = ()
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logits_scale: float = 1.0
    causal: bool = True
    num_token_types: int = 0
    position_offset: int = 0
    classifier_bias: bool = True
    classifier_activation: str = "gelu"
    pooling: PoolingConfig | None = None
    reads_media: bool = False
    source_positions: int = 0
    media_levels: int = 1
    through_transformers: bool = False
