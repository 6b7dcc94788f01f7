"""Tokenizers: small ones are trained here with the `tokenizers` and `sentencepiece` packages, stored in each way that models are
stored, opened by us, and compared with the original."""

from __future__ import annotations

import ctypes
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from fakes.tiny_gguf import converted_tensors, llama_metadata, write_gguf
from octavo.checkpoint import open_checkpoint
from octavo.checkpoint.dummy import DummyCheckpoint
from octavo.errors import CheckpointError, InvalidRequestError
from octavo.text import Tokenizer, open_tokenizer
from octavo.text.byte_level import token_bytes
from octavo.text.fast_tokenizer import _splits
from octavo.text.pretokenizers import PRETOKENIZERS

SPECIAL = ["<|end|>", "<|user|>"]
CORPUS = [
    "The quick brown fox doesn't jump over 1234 lazy dogs, they'll say.",
    "def f(x):\n    return x + 10\n\n\nprint(f(2))  # naïve café 日本語 привет",
    "A  b   c\td\r\n HELLO World iPhone 7.50",
] * 20
TEXTS = [
    *CORPUS[:3],
    "",
    " ",
    "  two",
    "IT'S 12345 don'T\n\n \n x",
    "😀👩‍👩‍👧 é é ½ ٣",
    "<|user|>hi<|end|> there<|user|>",
    "<|user <<|end|>",
    "\x00\x7f ÿ",
]


def _byte_level(pre: str) -> tokenizers.Tokenizer:
    rules = PRETOKENIZERS[pre]
    trained = tokenizers.Tokenizer(models.BPE(ignore_merges=rules.ignore_merges))
    trained.pre_tokenizer = rules.build()
    if rules.normalize_nfc:
        trained.normalizer = normalizers.NFC()
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    return trained


def _gguf(tmp_path: Path, **tokenizer: object) -> Tokenizer:
    metadata = llama_metadata() | {f"tokenizer.{key.replace('__', '.')}": value for key, value in tokenizer.items() if value is not None}
    return open_tokenizer(open_checkpoint(write_gguf(tmp_path / "t.gguf", metadata, converted_tensors())))


def _byte_level_gguf(tmp_path: Path, pre: str | None, **more: object) -> tuple[Tokenizer, tokenizers.Tokenizer]:
    trained = _byte_level(pre or "default")
    state = json.loads(trained.to_str())["model"]
    tokens = sorted(state["vocab"], key=state["vocab"].__getitem__)
    values = {
        "ggml__model": "gpt2",
        "ggml__pre": pre,
        "ggml__tokens": tokens,
        "ggml__token_type": [3 if token in SPECIAL else 1 for token in tokens],
        "ggml__merges": [" ".join(merge) for merge in state["merges"]],
        "ggml__bos_token_id": 1,
        "ggml__eos_token_id": 0,
    }
    return _gguf(tmp_path, **(values | more)), trained


def _check_streaming(tokenizer: Tokenizer, token_ids: list[int], expected: str) -> None:
    for skip in (True, False):
        stream = tokenizer.detokenizer(skip)
        pieces = [stream.push([token_id]) for token_id in token_ids] + [stream.finish()]
        assert "".join(pieces) == tokenizer.decode(token_ids, skip_special_tokens=skip)
        assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in expected


@pytest.mark.parametrize("pre", [None, *PRETOKENIZERS])
def test_byte_level_gguf_agrees_with_the_original(tmp_path: Path, pre: str | None) -> None:
    tokenizer, original = _byte_level_gguf(tmp_path, pre)
    for text in TEXTS:
        token_ids = tokenizer.encode(text, add_special_tokens=False)
        assert token_ids == original.encode(text).ids, text
        assert tokenizer.decode(token_ids) == original.decode(token_ids)
        assert b"".join(map(tokenizer.token_bytes, token_ids)).decode() == tokenizer.decode(token_ids, skip_special_tokens=False)
        _check_streaming(tokenizer, token_ids, text)
    assert tokenizer.special_token_ids == {0, 1}
    assert (tokenizer.bos_token_id, tokenizer.eos_token_ids) == (1, (0,))


# Pieces as the models' own tokenizers cut them
@pytest.mark.parametrize(
    ("pre", "pieces"),
    [
        ("gpt-2", ["Don", "'t", " 12345", " x", "\n\n ", " y", "!!\\", "n"]),
        ("smollm", ["Don", "'t", " ", "1", "2", "3", "4", "5", " x", "\n\n ", " y", "!!\\", "n"]),
        ("llama-bpe", ["Don", "'t", " ", "123", "45", " x", "\n\n", " ", " y", "!!\\", "n"]),
        ("qwen2", ["Don", "'t", " ", "1", "2", "3", "4", "5", " x", "\n\n", " ", " y", "!!\\", "n"]),
        ("tekken", ["Don", "'t", " ", "1", "2", "3", "4", "5", " x", "\n\n", " ", " y", "!!\\", "n"]),
        ("gpt-4o", ["Don't", " ", "123", "45", " x", "\n\n", " ", " y", "!!\\", "n"]),
    ],
)
def test_pretokenizers_cut_as_published(pre: str, pieces: list[str]) -> None:
    text = "Don't 12345 x\n\n  y!!\\n"
    assert [text[begin:end] for _, (begin, end) in PRETOKENIZERS[pre].build().pre_tokenize_str(text)] == pieces


@pytest.mark.parametrize(
    ("add_bos", "add_eos", "begin", "end"), [(None, None, [], []), (True, False, [1], []), (True, True, [1], [0]), (False, True, [], [0])]
)
def test_begin_and_end_flags_of_byte_level_files(
    tmp_path: Path, add_bos: bool | None, add_eos: bool | None, begin: list, end: list
) -> None:
    tokenizer, original = _byte_level_gguf(tmp_path, "gpt-2", ggml__add_bos_token=add_bos, ggml__add_eos_token=add_eos)
    middle = original.encode("fox").ids
    assert tokenizer.encode("fox") == [*begin, *middle, *end]
    assert tokenizer.encode("fox", add_special_tokens=False) == middle


def test_llama3_files_begin_with_bos_unless_told_otherwise(tmp_path: Path) -> None:
    assert _byte_level_gguf(tmp_path, "llama-bpe")[0].encode("")[:1] == [1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"ggml__pre": "klingon"}, "tokenizer.ggml.pre is 'klingon'.*tokenizer.json"),
        ({"ggml__model": "t5"}, "tokenizer.ggml.model is 't5'; known are gpt2 and llama"),
        ({"ggml__merges": None}, "tokenizer.ggml.merges is missing"),
        ({"ggml__merges": ["a b", "nothere nothere"]}, "tokenizer.ggml.merges do not fit"),
    ],
)
def test_what_cannot_be_built_names_the_key(tmp_path: Path, more: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        _byte_level_gguf(tmp_path, "gpt-2", **more)


def test_bytes_of_tokens_outside_the_alphabet_are_their_utf8() -> None:
    assert token_bytes(["Ġa", "Ċ", "é", "<|x y|>", "中"]) == [b" a", b"\n", b"\xe9", b"<|x y|>", "中".encode()]


def _sentencepiece(**options: object) -> sentencepiece.SentencePieceProcessor:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=model,
        vocab_size=380,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=["\n\n", "<tool>"],
        control_symbols=SPECIAL,
        minloglevel=2,
        **options,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def _kind(processor: sentencepiece.SentencePieceProcessor, token_id: int) -> int:
    kinds = ((processor.is_unknown, 2), (processor.is_control, 3), (processor.is_byte, 6), (processor.is_unused, 5))
    user_defined = 4 if processor.id_to_piece(token_id) in ("\n\n", "<tool>") else 1
    return next((kind for is_kind, kind in kinds if is_kind(token_id)), user_defined)


def _sentencepiece_gguf(tmp_path: Path, processor: sentencepiece.SentencePieceProcessor, **more: object) -> Tokenizer:
    ids = range(processor.get_piece_size())
    values = {
        "ggml__model": "llama",
        "ggml__tokens": [processor.id_to_piece(i) for i in ids],
        "ggml__scores": [processor.get_score(i) for i in ids],
        "ggml__token_type": [_kind(processor, i) for i in ids],
        "ggml__bos_token_id": processor.bos_id(),
        "ggml__eos_token_id": processor.eos_id(),
        "ggml__unknown_token_id": processor.unk_id(),
    }
    return _gguf(tmp_path, **(values | more))


def _sentencepiece_folder(tmp_path: Path, processor: sentencepiece.SentencePieceProcessor) -> Tokenizer:
    (tmp_path / "config.json").write_text('{"vocab_size": 400, "eos_token_id": 9}')
    (tmp_path / "tokenizer.model").write_bytes(processor.serialized_model_proto())
    return open_tokenizer(DummyCheckpoint(tmp_path))


@pytest.mark.parametrize("add_prefix", [True, False])
@pytest.mark.parametrize("stored", ["gguf", "folder"])
def test_sentencepiece_agrees_with_the_original(tmp_path: Path, add_prefix: bool, stored: str) -> None:
    processor = _sentencepiece(add_dummy_prefix=add_prefix)
    if stored == "gguf":
        tokenizer = _sentencepiece_gguf(tmp_path, processor, ggml__add_space_prefix=add_prefix)
    else:
        tokenizer = _sentencepiece_folder(tmp_path, processor)
    for text in [text for text in TEXTS if "<|" not in text] + ["a<tool>b\n\nc"]:
        token_ids = tokenizer.encode(text)
        assert token_ids == [processor.bos_id(), *processor.encode(text)], text
        assert tokenizer.decode(token_ids) == processor.decode(token_ids[1:])
        if not add_prefix:  # a stream continues a prompt, so that its first space is text
            _check_streaming(tokenizer, token_ids, text)


def test_sentencepiece_reads_special_tokens_out_of_text(tmp_path: Path) -> None:
    processor = _sentencepiece(add_dummy_prefix=False)
    tokenizer = _sentencepiece_gguf(tmp_path, processor, ggml__add_space_prefix=False, ggml__add_eos_token=True, ggml__add_bos_token=False)
    user, end = (processor.piece_to_id(text) for text in ("<|user|>", "<|end|>"))
    token_ids = tokenizer.encode("<|user|>fox <|end <|end|>")
    assert token_ids == [user, *processor.encode("fox <|end "), end, processor.eos_id()]
    assert tokenizer.decode(token_ids) == "fox <|end "
    assert tokenizer.decode(token_ids, skip_special_tokens=False) == "<|user|>fox <|end <|end|></s>"
    assert {user, end, processor.unk_id(), processor.bos_id()} <= tokenizer.special_token_ids


def test_stream_keeps_the_first_space_of_a_continuation(tmp_path: Path) -> None:
    processor = _sentencepiece(add_dummy_prefix=True)
    tokenizer = _sentencepiece_gguf(tmp_path, processor)
    token_ids = tokenizer.encode("fox", add_special_tokens=False)
    stream = tokenizer.detokenizer()
    assert tokenizer.decode(token_ids) == "fox"
    assert stream.push(token_ids) + stream.finish() == " fox"


def test_added_tokens_beyond_the_sentencepiece_model(tmp_path: Path) -> None:
    (tmp_path / "added_tokens.json").write_text('{"<extra>": 390}')
    decoder = {"391": {"content": "<end_of_turn>", "special": True}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": False, "added_tokens_decoder": decoder}))
    tokenizer = _sentencepiece_folder(tmp_path, _sentencepiece())
    assert tokenizer.encode("<extra><end_of_turn>") == [390, 391]
    assert tokenizer.decode([390, 391]) == "<extra>"
    assert tokenizer.vocab_size == 400
    assert (tokenizer.token_bytes(390), tokenizer.token_bytes(399)) == (b"<extra>", b"")
    assert 9 in tokenizer.eos_token_ids


def _folder(tmp_path: Path, backend: tokenizers.Tokenizer, config: dict | None = None) -> Tokenizer:
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text('{"vocab_size": 500, "eos_token_id": [7, 8], "bos_token_id": 5}')
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config or {}))
    return open_tokenizer(DummyCheckpoint(tmp_path))


def test_tokenizer_json(tmp_path: Path) -> None:
    original = _byte_level("qwen2")
    original.enable_truncation(3)
    tokenizer = _folder(tmp_path, original, {"bos_token": "<|user|>", "eos_token": "<|end|>"})
    original.no_truncation()
    for text in TEXTS:
        token_ids = tokenizer.encode(text)
        assert token_ids == original.encode(text).ids
        assert tokenizer.decode(token_ids) == original.decode(token_ids)
        _check_streaming(tokenizer, token_ids, text)
    assert (tokenizer.vocab_size, tokenizer.bos_token_id, tokenizer.eos_token_ids) == (500, 1, (0, 7, 8))
    assert (tokenizer.token_bytes(499), tokenizer.decode([499])) == (b"", "")


def test_explicit_flags_override_the_post_processor(tmp_path: Path) -> None:
    config = {"bos_token": "<|user|>", "eos_token": "<|end|>", "add_bos_token": True, "add_eos_token": True}
    tokenizer = _folder(tmp_path, _byte_level("qwen2"), config)
    assert (tokenizer.encode("")[0], tokenizer.encode("")[-1]) == (1, 0)
    assert tokenizer.encode("", add_special_tokens=False) == []


def _fallback_decoder(backend: tokenizers.Tokenizer) -> None:
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])


def _metaspace_decoder(backend: tokenizers.Tokenizer) -> None:
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    backend.decoder = decoders.Metaspace(prepend_scheme="never")


@pytest.mark.parametrize("set_decoder", [_fallback_decoder, _metaspace_decoder])
def test_decoders_of_other_kinds_stream_the_same_text(tmp_path: Path, set_decoder: Callable) -> None:
    tokens = [*(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "é"]
    backend = tokenizers.Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, [("▁", "a")], byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    set_decoder(backend)
    tokenizer = _folder(tmp_path, backend)
    text = "a b é 😀ab " if set_decoder is _fallback_decoder else "a b é ab"
    token_ids = tokenizer.encode(text)
    assert tokenizer.decode(token_ids) == text
    _check_streaming(tokenizer, token_ids, text)


def test_ids_outside_the_vocabulary_and_lone_surrogates_are_refused(tmp_path: Path) -> None:
    for tokenizer in (_byte_level_gguf(tmp_path, "gpt-2")[0], _sentencepiece_gguf(tmp_path, _sentencepiece())):
        for bad in (-1, tokenizer.vocab_size):
            with pytest.raises(InvalidRequestError, match=f"token id {bad} is outside the vocabulary"):
                tokenizer.decode([0, bad])
            with pytest.raises(InvalidRequestError, match="outside the vocabulary"):
                tokenizer.token_bytes(bad)
        with pytest.raises(InvalidRequestError, match="lone surrogate at character 1"):
            tokenizer.encode("a\ud800b")


def test_folder_errors(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer.json is not a tokenizer that can be read"):
        open_tokenizer(DummyCheckpoint(tmp_path))
    (tmp_path / "tokenizer.json").rename(tmp_path / "tokenizer.model")
    with pytest.raises(CheckpointError, match=r"tokenizer.model is not a SentencePiece model"):
        open_tokenizer(DummyCheckpoint(tmp_path))


def test_made_up_weights_without_a_tokenizer_use_bytes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"vocab_size": 1000}')
    tokenizer = open_tokenizer(DummyCheckpoint(tmp_path / "config.json"))
    assert tokenizer.vocab_size == 1000
    assert tokenizer.decode(tokenizer.encode("é😀")) == "é😀"
    _check_streaming(tokenizer, [*"é😀".encode(), 999], "")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc's count of the bytes that are in use")
@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_nothing_is_kept_of_what_was_encoded(tmp_path: Path, model: str) -> None:
    alphabet = [(chr(code), -1.0) for code in range(ord(" "), ord("~") + 1)]
    vocabulary = {text: token_id for token_id, (text, _) in enumerate(alphabet)}
    tokenizer = _folder(
        tmp_path, tokenizers.Tokenizer(models.BPE(vocabulary, []) if model == "bpe" else models.Unigram(alphabet, unk_id=0))
    )  # nothing splits a text into words, as in the files of Llama 2
    tokenizer.encode("warm")
    before = _bytes_in_use()
    for number in range(1000):
        tokenizer.encode(f"{number} ".ljust(200, "x"))
    assert _bytes_in_use() - before < 100_000  # the library's cache would hold 7 million, of Unigram 11


class _MallInfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "o", "s", "h", "mapped", "us", "fs", "in_use", "free", "keep")]


def _bytes_in_use() -> int:
    count = ctypes.CDLL(None).mallinfo2
    count.restype = _MallInfo2
    info = count()
    return info.in_use + info.mapped


@pytest.mark.parametrize(
    ("name", "splits"),
    [("gemma", False), ("llama 2", False), ("whole", False), ("metaspace", True), ("gpt-2", True), ("split and bytes", True)],
)
def test_pieces_are_kept_only_where_they_are_words(name: str, splits: bool):
    spaces = pre_tokenizers.Split(tokenizers.Regex(r"\s"), "isolated")
    pipelines = {  # normalizer, pre-tokenizer
        "gemma": (normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous")),
        "llama 2": (normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None),
        "whole": (None, pre_tokenizers.ByteLevel(use_regex=False)),
        "metaspace": (None, pre_tokenizers.Metaspace()),
        "gpt-2": (normalizers.NFC(), pre_tokenizers.ByteLevel(add_prefix_space=False)),
        "split and bytes": (None, pre_tokenizers.Sequence([spaces, pre_tokenizers.ByteLevel(use_regex=False)])),
    }
    backend = tokenizers.Tokenizer(models.BPE())
    normalizer, pre_tokenizer = pipelines[name]
    if normalizer is not None:
        backend.normalizer = normalizer
    if pre_tokenizer is not None:
        backend.pre_tokenizer = pre_tokenizer
    assert _splits(backend) is splits
