"""GGUF files: the `gguf` package writes and reads them as llama.cpp does; we must agree with it, undo its converter and refuse damage."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from fakes.tiny_gguf import HEADS, HIDDEN, KV_HEADS, VOCAB, converted_tensors, llama_metadata, write_gguf
from octavo.checkpoint import open_checkpoint
from octavo.checkpoint.gguf import GgufFile
from octavo.checkpoint.raw_tensor import BLOCK_FORMATS
from octavo.errors import CheckpointError


def _floats(checkpoint: GgufFile, name: str) -> np.ndarray:
    raw = checkpoint.tensor(name)
    assert raw.format == "F32"
    return raw.data.view("<f4").reshape(raw.shape)


def _converted_by_llama_cpp(rows: np.ndarray, num_heads: int) -> np.ndarray:
    """`LlamaModel.permute` of convert_hf_to_gguf.py."""
    return rows.reshape(num_heads, 2, rows.shape[0] // num_heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf", llama_metadata(), converted_tensors())


def test_metadata_are_those_the_gguf_package_reads(tmp_path: Path) -> None:
    metadata = llama_metadata() | {
        "a.text": "é😀",
        "a.flag": True,
        "a.numbers": [1, -2, 3],
        "a.floats": [0.5, 1.25],
        "a.texts": ["", "x", "\n中"],
        "a.flags": [True, False],
    }
    path = write_gguf(tmp_path / "m.gguf", metadata, converted_tensors())
    ours, theirs = GgufFile(path).metadata, gguf.GGUFReader(path).fields
    for key in metadata:
        value = ours[key].tolist() if isinstance(ours[key], np.ndarray) else ours[key]
        assert value == theirs[key].contents(), key


@pytest.mark.parametrize("kind", [name for name in BLOCK_FORMATS if name not in ("F32", "F16") and not name.startswith("U")])
def test_block_formats_come_back_byte_for_byte(tmp_path: Path, kind: str) -> None:
    values, size = BLOCK_FORMATS[kind]
    blocks = np.random.default_rng(1).integers(0, 256, (5, 3 * size), dtype=np.uint8)
    path = write_gguf(
        tmp_path / "q.gguf", llama_metadata(), converted_tensors() | {"blk.0.ffn_up.weight": blocks}, {"blk.0.ffn_up.weight": kind}
    )
    raw = GgufFile(path).tensor("model.layers.0.mlp.up_proj.weight", (5, 3 * values))
    assert (raw.format, raw.data.dtype) == (kind, np.uint8)
    assert np.array_equal(raw.data, blocks.reshape(-1))


def test_names_are_hugging_face_names(path: Path) -> None:
    layer = "model.layers.0."
    assert GgufFile(path).names() == {
        "model.embed_tokens.weight",
        "model.norm.weight",
        *(f"{layer}self_attn.{part}_proj.weight" for part in "qkvo"),
        *(f"{layer}mlp.{part}_proj.weight" for part in ("gate", "up", "down")),
        f"{layer}input_layernorm.weight",
        f"{layer}post_attention_layernorm.weight",
    }


def test_unknown_tensor_keeps_its_name_so_that_the_loader_reports_it(tmp_path: Path) -> None:
    extra = {"blk.0.odd.weight": np.zeros(4, np.float32), "odd": np.zeros(4, np.float32), "blk.odd": np.zeros(4, np.float32)}
    path = write_gguf(tmp_path / "x.gguf", llama_metadata(), converted_tensors() | extra)
    assert set(extra) < GgufFile(path).names()


def test_query_and_key_rows_are_put_back_for_llama_only(tmp_path: Path) -> None:
    tensors = converted_tensors()
    original = {"attn_q": tensors["blk.0.attn_q.weight"], "attn_k": tensors["blk.0.attn_k.weight"]}
    for part, heads in (("attn_q", HEADS), ("attn_k", KV_HEADS)):
        tensors[f"blk.0.{part}.weight"] = _converted_by_llama_cpp(original[part], heads)
    llama = GgufFile(write_gguf(tmp_path / "l.gguf", llama_metadata(), tensors))
    assert np.array_equal(_floats(llama, "model.layers.0.self_attn.q_proj.weight"), original["attn_q"])
    assert np.array_equal(_floats(llama, "model.layers.0.self_attn.k_proj.weight"), original["attn_k"])
    qwen = GgufFile(write_gguf(tmp_path / "q.gguf", llama_metadata("qwen2"), tensors))
    assert np.array_equal(_floats(qwen, "model.layers.0.self_attn.q_proj.weight"), tensors["blk.0.attn_q.weight"])


def test_rows_of_blocks_and_biases_are_put_back_too(tmp_path: Path) -> None:
    tensors = converted_tensors()
    blocks = np.random.default_rng(2).integers(0, 256, (HIDDEN, HIDDEN // 32 * 18), dtype=np.uint8)
    bias = np.arange(HIDDEN, dtype=np.float32)
    tensors |= {"blk.0.attn_q.weight": _converted_by_llama_cpp(blocks, HEADS), "blk.0.attn_q.bias": _converted_by_llama_cpp(bias, HEADS)}
    checkpoint = GgufFile(write_gguf(tmp_path / "b.gguf", llama_metadata(), tensors, {"blk.0.attn_q.weight": "Q4_0"}))
    assert np.array_equal(checkpoint.tensor("model.layers.0.self_attn.q_proj.weight").data, blocks.reshape(-1))
    assert np.array_equal(_floats(checkpoint, "model.layers.0.self_attn.q_proj.bias"), bias)
    assert checkpoint.config["attention_bias"] is True


def _with_experts(architecture: str, **overrides: object) -> dict:
    return llama_metadata(architecture, expert_count=3, expert_used_count=2, **overrides)


def test_stacked_experts_are_read_where_they_lie(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    down = rng.integers(0, 256, (3, HIDDEN, 2 * 18), dtype=np.uint8)
    gate, shared_gate = rng.standard_normal((3, 32, HIDDEN)).astype(np.float32), np.arange(HIDDEN, dtype=np.float32)
    stacks = {"blk.0.ffn_down_exps.weight": down, "blk.0.ffn_gate_exps.weight": gate, "blk.0.ffn_gate_inp_shexp.weight": shared_gate}
    formats = {"blk.0.ffn_down_exps.weight": "Q4_0"}
    checkpoint = GgufFile(write_gguf(tmp_path / "x.gguf", _with_experts("qwen2moe"), converted_tensors() | stacks, formats))
    for expert in range(3):
        raw = checkpoint.tensor(f"model.layers.0.mlp.experts.{expert}.down_proj.weight", (HIDDEN, 64))
        assert raw.format == "Q4_0"
        assert np.array_equal(raw.data, down[expert].reshape(-1))
        assert np.array_equal(_floats(checkpoint, f"model.layers.0.mlp.experts.{expert}.gate_proj.weight"), gate[expert])
    assert checkpoint.tensor("model.layers.0.mlp.shared_expert_gate.weight").shape == (1, HIDDEN)  # the converter may drop the 1


@pytest.mark.parametrize(
    ("architecture", "model_type", "renormalise"),
    [("llama", "mixtral", True), ("qwen2moe", "qwen2_moe", False), ("qwen3moe", "qwen3_moe", True), ("olmoe", "olmoe", False)],
)
def test_config_of_mixtures_of_experts(tmp_path: Path, architecture: str, model_type: str, renormalise: bool) -> None:
    metadata = _with_experts(architecture, expert_feed_forward_length=32, expert_shared_feed_forward_length=48)
    config = GgufFile(write_gguf(tmp_path / "x.gguf", metadata, converted_tensors())).config
    expected = {
        "model_type": model_type,
        "num_experts": 3,
        "num_experts_per_tok": 2,
        "norm_topk_prob": renormalise,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 48,
    }
    assert {key: config[key] for key in expected} == expected


def test_gemma_norms_lose_the_added_one_and_get_their_own_names(tmp_path: Path) -> None:
    tensors = converted_tensors()
    for name in ("post_attention_norm", "post_ffw_norm", "attn_q_norm", "attn_k_norm"):
        tensors[f"blk.0.{name}.weight"] = np.full(8, 1.5, np.float32)
    tensors["blk.0.ffn_norm.weight"] = np.full(HIDDEN, 3.0, np.float32)
    metadata = llama_metadata("gemma3", attention__key_length=32, attention__sliding_window=16, block_count=7)
    checkpoint = GgufFile(write_gguf(tmp_path / "g.gguf", metadata, tensors))
    assert np.array_equal(_floats(checkpoint, "model.layers.0.self_attn.q_norm.weight"), np.full(8, 0.5))
    assert np.array_equal(_floats(checkpoint, "model.layers.0.pre_feedforward_layernorm.weight"), np.full(HIDDEN, 2.0))
    assert np.array_equal(_floats(checkpoint, "model.layers.0.post_attention_layernorm.weight"), np.full(8, 0.5))
    config = checkpoint.config
    assert (config["model_type"], config["head_dim"], config["query_pre_attn_scalar"], config["sliding_window"]) == (
        "gemma3_text",
        32,
        32,
        16,
    )
    assert config["layer_types"] == ["sliding_attention"] * 5 + ["full_attention", "sliding_attention"]
    assert (config["rope_local_base_freq"], config["hidden_activation"]) == (10000.0, "gelu_pytorch_tanh")


def test_gemma_layers_follow_a_flag_each_where_the_file_has_them(tmp_path: Path) -> None:
    metadata = llama_metadata("gemma3", attention__sliding_window=16, attention__sliding_window_pattern=[True, False], block_count=2)
    assert GgufFile(write_gguf(tmp_path / "g.gguf", metadata, converted_tensors())).config["layer_types"] == [
        "sliding_attention",
        "full_attention",
    ]


def test_config_of_llama(path: Path) -> None:
    config = GgufFile(path).config
    expected = {
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HIDDEN // HEADS,
        "rms_norm_eps": 1e-5,  # not the nearest 32-bit float's digits
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "vocab_size": VOCAB,
        "max_position_embeddings": 128,
        "tie_word_embeddings": True,
        "attention_bias": False,
    }
    assert {key: config[key] for key in expected} == expected


def test_output_matrix_means_untied(tmp_path: Path) -> None:
    tensors = converted_tensors()
    checkpoint = GgufFile(write_gguf(tmp_path / "u.gguf", llama_metadata(), tensors | {"output.weight": tensors["token_embd.weight"]}))
    assert checkpoint.config["tie_word_embeddings"] is False
    assert "lm_head.weight" in checkpoint.names()


def test_rope_factors_become_parameters(tmp_path: Path) -> None:
    factors = np.array([1, 1, 2, 4, 8, 8, 8, 8], np.float32)
    checkpoint = GgufFile(write_gguf(tmp_path / "r.gguf", llama_metadata(), converted_tensors() | {"rope_freqs.weight": factors}))
    assert checkpoint.config["rope_parameters"] == {"rope_type": "llama3_factors", "rope_theta": 10000.0, "factors": factors.tolist()}
    assert "rope_freqs.weight" not in checkpoint.names()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"rope__scaling__type": "linear", "rope__scaling__factor": 8.0}, {"rope_type": "linear", "factor": 8.0}),
        ({"rope__scale_linear": 4.0}, {"rope_type": "linear", "factor": 4.0}),
        ({"rope__scaling__type": "none"}, None),
        (
            {"rope__scaling__type": "yarn", "rope__scaling__factor": 4.0, "rope__scaling__original_context_length": 32},
            {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
        ),
    ],
)
def test_rope_scaling(tmp_path: Path, keys: dict, expected: dict | None) -> None:
    assert GgufFile(write_gguf(tmp_path / "s.gguf", llama_metadata(**keys), converted_tensors())).config["rope_scaling"] == expected


def test_end_of_turn_is_read_from_keys_and_from_the_chat_template(tmp_path: Path) -> None:
    tokens = {
        "tokenizer.ggml.tokens": ["a", "</s>", "<|eot_id|>", "<|eom|>"],
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.eom_token_id": 3,
    }
    template = {"tokenizer.chat_template": "{{ messages[0].content }}<|eot_id|>"}
    bare = write_gguf(tmp_path / "bare.gguf", llama_metadata() | tokens, converted_tensors())
    chat = write_gguf(tmp_path / "chat.gguf", llama_metadata() | tokens | template, converted_tensors())
    assert GgufFile(bare).generation_config["eos_token_id"] == [1, 3]
    assert GgufFile(chat).generation_config["eos_token_id"] == [1, 2, 3]


def test_version_2_is_read_and_others_are_refused(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:4] + struct.pack("<I", 2) + data[8:])
    assert len(GgufFile(path).names()) == 11
    for version in (1, 4, 0x03000000):
        path.write_bytes(data[:4] + struct.pack("<I", version) + data[8:])
        with pytest.raises(CheckpointError, match="GGUF version"):
            GgufFile(path)


def test_every_truncation_is_one_clear_error(path: Path) -> None:
    data = path.read_bytes()
    for size in [*range(4, 1400, 7), len(data) // 2, len(data) - 1 - len(data) % 32]:
        path.write_bytes(data[:size])
        with pytest.raises(CheckpointError, match="truncated") as caught:
            GgufFile(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"architecture": "mamba"}, "general.architecture is 'mamba'.*supported: .*llama"),
        ({"embedding_length": None}, "llama.embedding_length is missing"),
        ({"expert_count": 8}, "llama.expert_used_count is missing"),
        ({"architecture": "qwen3", "expert_count": 8}, "qwen3.expert_count is 8: models of the architecture qwen3 cannot have experts"),
        ({"rope__scaling__type": "longrope"}, "rope.scaling.type is 'longrope'"),
        ({"attention__head_count_kv": [2, 4]}, "head_count_kv differs between layers"),
        ({"rope__dimension_count": 8}, "llama.rope.dimension_count is 8: models of this architecture rotate whole heads"),
        ({"embedding_scale": 12.0}, "llama.embedding_scale is 12.0: this setting changes"),
        ({"attention__head_count": 0}, "llama.attention.head_count is 0: a whole number of 1 to"),
        ({"embedding_length": "64"}, "llama.embedding_length is '64': a whole number"),
        ({"block_count": 2**32 - 1}, "llama.block_count is 4294967295: a whole number of 1 to 4096"),
        ({"context_length": 2**32 - 1}, "llama.context_length is 4294967295: a whole number"),
        ({"attention__layer_norm_rms_epsilon": "small"}, "llama.attention.layer_norm_rms_epsilon is 'small': a number"),
    ],
)
def test_what_cannot_be_run_names_the_key(tmp_path: Path, overrides: dict, message: str) -> None:
    path = write_gguf(tmp_path / "e.gguf", llama_metadata(**overrides), converted_tensors())
    with pytest.raises(CheckpointError, match=message):
        GgufFile(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general.alignment": "32"}, "general.alignment is '32'"),
        ({"general.alignment": 0}, "general.alignment is 0: a whole number of 1 to"),
        ({"split.count": "three"}, "split.count is 'three'"),
        ({"tokenizer.ggml.eos_token_id": "</s>"}, "tokenizer.ggml.eos_token_id is '</s>'"),
        ({"tokenizer.chat_template": 7}, "tokenizer.chat_template is 7: a text is needed"),
        ({"tokenizer.ggml.tokens": [1, 2, 3]}, "tokenizer.ggml.tokens is .*texts is needed"),
    ],
)
def test_metadata_of_another_type_name_the_key(tmp_path: Path, changes: dict, message: str) -> None:
    path = write_gguf(tmp_path / "e.gguf", llama_metadata() | changes, converted_tensors())
    with pytest.raises(CheckpointError, match=message) as caught:
        GgufFile(path)
    assert str(path) in str(caught.value)


def test_one_number_per_layer_that_is_the_same_everywhere_is_that_number(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "p.gguf", llama_metadata(attention__head_count_kv=[2, 2]), converted_tensors())
    assert GgufFile(path).config["num_key_value_heads"] == 2


def test_unreadable_tensor_type_is_named(tmp_path: Path) -> None:
    blocks = {"blk.0.ffn_up.weight": np.zeros((4, 84), np.uint8)}
    path = write_gguf(tmp_path / "t.gguf", llama_metadata(), converted_tensors() | blocks, {"blk.0.ffn_up.weight": "Q2_K"})
    with pytest.raises(CheckpointError, match=r"blk.0.ffn_up.weight has the type Q2_K.*Q4_K"):
        GgufFile(path)


def split_model(folder: Path) -> list[Path]:
    """The model in shards of five tensors, as the `gguf` package writes them."""
    writer = gguf.GGUFWriter(folder / "tiny.gguf", "llama", split_max_tensors=5)
    for key, value in llama_metadata().items():
        if key != "general.architecture":
            (writer.add_uint32 if isinstance(value, int) else writer.add_float32)(key, value)
    for name, array in converted_tensors().items():
        writer.add_tensor(name, array)
    writer.write_header_to_file(folder / "tiny.gguf")
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("tiny-*.gguf"))


def test_shards_are_one_model_whichever_is_given(path: Path, tmp_path: Path) -> None:
    whole, shards = GgufFile(path), split_model(tmp_path)
    assert [shard.name for shard in shards] == [f"tiny-{number:05}-of-00003.gguf" for number in (1, 2, 3)]
    for shard in shards:
        model = GgufFile(shard)
        assert model.path == shards[0]
        assert model.config == whole.config
        assert model.names() == whole.names()
        for name in whole.names():
            np.testing.assert_array_equal(model.tensor(name).data, whole.tensor(name).data)


def test_shards_without_the_others_are_refused(tmp_path: Path) -> None:
    first, second, third = split_model(tmp_path)
    third.rename(tmp_path / "away.gguf")
    with pytest.raises(CheckpointError, match=r"one of 3 shards, of which are missing: tiny-00003-of-00003.gguf"):
        GgufFile(second)
    with pytest.raises(CheckpointError, match="one of 3 shards, which is not what its name says"):
        GgufFile(tmp_path / "away.gguf")
    first.with_name(third.name).write_bytes(first.read_bytes())
    with pytest.raises(CheckpointError, match="is not shard 3 of 3, as its name says"):
        GgufFile(first)


def test_missing_tensor_and_wrong_shape_name_file_and_tensor(path: Path) -> None:
    checkpoint = GgufFile(path)
    with pytest.raises(CheckpointError, match=r"tiny.gguf: tensor lm_head.weight is missing"):
        checkpoint.tensor("lm_head.weight")
    with pytest.raises(CheckpointError, match=r"model.norm.weight has shape \[64\].*\[65\]"):
        checkpoint.tensor("model.norm.weight", (65,))


def test_file_without_suffix_opens_and_other_files_do_not(path: Path, tmp_path: Path) -> None:
    assert isinstance(open_checkpoint(path.rename(tmp_path / "blob")), GgufFile)
    (tmp_path / "empty.gguf").write_bytes(b"")
    (tmp_path / "text.gguf").write_bytes(b"hello, this is text")
    (tmp_path / "text.txt").write_bytes(b"hello")
    for name, message in (
        ("empty.gguf", "is empty"),
        ("text.gguf", "not a GGUF file"),
        ("text.txt", "not a model"),
        ("none", "no such file"),
    ):
        with pytest.raises(CheckpointError, match=message):
            open_checkpoint(tmp_path / name)
