#!/usr/bin/env python3
"""Write docs/arguments.md, docs/metrics.md and docs/models.md from the code that they describe: python tools/docs.py [--check]

With --check nothing is written; the exit status is 1 where a page is not what the code says.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import Field
from pathlib import Path
from typing import Any

__all__ = ["ENVIRONMENT", "pages"]

ROOT = Path(__file__).resolve().parent.parent
DOCS, SOURCE = ROOT / "docs", ROOT / "python" / "octavo"

# What the process reads of its environment besides its flags. A test holds the names that the sources ask for against this list.
ENVIRONMENT = {
    "OCTAVO_API_KEY": "a bearer token that `octavo serve` requires, besides those of `--api-key` and of the file",
    "OCTAVO_CACHE": "folder of fetched files (default `~/.cache/octavo`); the default model lies in `models/` there",
    "OCTAVO_ISA": "take another instruction set than the best of the machine: `portable`, `avx2`, `avx512`, `neon`, `neon_dot`, `vsx`",
    "OCTAVO_PROFILE": "1: the step program writes the time of each op to standard error when it ends",
    "OCTAVO_CUDA_LIBRARY": "path of `liboctavo_cuda.so`, where it is not installed as a package",
}
HUB_ENVIRONMENT = {
    "HF_TOKEN": "access token for private and gated models",
    "HF_HOME": "folder of the Hugging Face cache (default `~/.cache/huggingface`)",
    "HF_ENDPOINT": "address of the hub or of a mirror",
    "HF_HUB_OFFLINE": "1: never ask the hub; only the local cache",
}


def pages() -> dict[str, str]:
    """File name -> text of each generated page."""
    return {"arguments.md": "\n".join(_arguments()), "metrics.md": "\n".join(_metrics()), "models.md": "\n".join(_models())}


def _arguments() -> Iterator[str]:
    from octavo.config import EngineConfig, ServerConfig

    yield "# Arguments and environment\n"
    yield "Made by `tools/docs.py` from `config.py`; `octavo serve --help` says the same. Sizes take units: `--kv-cache-bytes 4GiB`.\n"
    yield "Each can also come from a variable, `OCTAVO_` and its name in capitals (`OCTAVO_MAX_MODEL_LEN=8192`; lists with commas, `true`"
    yield "or `false` for a switch), and from the YAML file of `--config`, which names settings as flags are named. A flag counts more than"
    yield "a variable, a variable more than the file; an unknown key of the file is an error:\n"
    yield "```yaml\nmodel: Qwen/Qwen3-0.6B\nserved-model-name: [qwen, default]\nmax-model-len: 8192\nkv-cache-bytes: 4GiB\n```\n"
    yield "## Engine\n"
    yield "Flags of `octavo serve`, `chat`, `complete`, `bench` and `doctor`, and keyword arguments of `LLM(...)`, with underscores.\n"
    yield from _flags(EngineConfig)
    yield "\n## Server\n"
    yield "Flags of `octavo serve`.\n"
    yield from _flags(ServerConfig)
    yield "\n## Environment\n"
    yield from _table(("variable", "meaning"), ((f"`{name}`", text) for name, text in ENVIRONMENT.items()))
    yield "\nOf the Hugging Face hub's own:\n"
    yield from _table(("variable", "meaning"), ((f"`{name}`", text) for name, text in HUB_ENVIRONMENT.items()))
    yield ""


def _flags(config: type) -> Iterator[str]:
    from octavo.config import settings

    rows = ((_flag(each, kind), _default(each), each.metadata["help"].replace("|", "\\|")) for _, each, kind in settings(config).values())
    yield from _table(("flag", "default", "meaning"), rows)


def _flag(setting: Field, kind: Any) -> str:
    name = setting.name.replace("_", "-")
    if kind is bool:
        return f"`--{name}`, `--no-{name}`"
    choices = setting.metadata.get("choices")
    return f"`--{name}`" + (f" ({', '.join(map(str, choices))})" if choices else "")


def _default(setting: Field) -> str:
    if isinstance(setting.default, bool):
        return "on" if setting.default else "off"
    return "" if setting.default in (None, "", ()) else f"`{setting.default}`"


def _metrics() -> Iterator[str]:
    yield "# Metrics\n"
    yield "Made by `tools/docs.py` from what `GET /metrics` answers; prometheus_client's `process_*` stand beside. A scrape:\n"
    yield '```yaml\nscrape_configs:\n  - job_name: octavo\n    static_configs: [{targets: ["127.0.0.1:8000"]}]\n```\n'
    yield from _table(("metric", "type", "meaning"), ((f"`{name}`", kind, text) for name, kind, text in _families()))
    yield "\nWith `--frontends` above 1 a scrape reaches one of the processes: what the engine holds (running, waiting, KV cache, steps)"
    yield "is the same in all, what requests leave (tokens, latencies, refusals, clients) is that process's own."
    yield "\n`octavo_client_*` are there where the server has API keys, one series for each, by the name behind the key in its file."
    yield "[`examples/grafana-dashboard.json`](examples/grafana-dashboard.json) is a dashboard of these (Grafana: Dashboards, New, Import)."
    yield "\n## For dashboards made for vLLM\n"
    yield from _table(("vLLM", "Octavo"), ((f"`vllm:{theirs}`", f"`octavo_{ours}`") for theirs, ours in _OF_VLLM.items()))
    yield ""


_OF_VLLM = {
    "num_requests_running": "num_requests_running",
    "num_requests_waiting": "num_requests_waiting",
    "kv_cache_usage_perc": "kv_cache_usage_ratio",
    "prompt_tokens_total": "prompt_tokens_total",
    "prefix_cache_queries_total": "prompt_tokens_total",
    "generation_tokens_total": "generation_tokens_total",
    "prefix_cache_hits_total": "prefix_cache_hit_tokens_total",
    "num_preemptions_total": "preemptions_total",
    "request_success_total": "finished_total",
    "time_to_first_token_seconds": "time_to_first_token_seconds",
    "inter_token_latency_seconds": "inter_token_latency_seconds",
    "e2e_request_latency_seconds": "e2e_request_latency_seconds",
    "request_queue_time_seconds": "request_queue_time_seconds",
    "request_prefill_time_seconds": "request_prefill_time_seconds",
    "request_decode_time_seconds": "request_decode_time_seconds",
    "request_prompt_tokens": "request_prompt_tokens",
    "request_generation_tokens": "request_generation_tokens",
}


def _families() -> list[tuple[str, str, str]]:
    """(name as it is scraped, type, help) of every family of the server's own, as the source declares them."""
    source = (SOURCE / "server" / "metrics.py").read_text()
    declared = re.findall(r'(Gauge|Counter)MetricFamily\(\s*"(\w+)",\s*"([^"]+)"', source)
    observed = re.findall(r'[hH]istogram\("(?:octavo_)?(\w+)",\s*"([^"]+)"', source)
    families = [(name + "_total" * (kind == "Counter"), kind.lower(), text) for kind, name, text in declared]
    return sorted(families + [(f"octavo_{name}", "histogram", text) for name, text in observed])


def _models() -> Iterator[str]:
    from octavo.models import families
    from octavo.plugins import available

    yield "# Models\n"
    yield "Made by `tools/docs.py` from the files of `python/octavo/models`, one for each family; `octavo models` says the same.\n"
    yield "Every family runs from Hugging Face folders of safetensors (sharded or not; float32, float16, bfloat16), those with a GGUF"
    yield "architecture from `.gguf` files too (F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K). Of each, a test makes a"
    yield "small random checkpoint and holds the logits of both executors to the reference within 1e-4 of the largest, and chunks and"
    yield "cached prefixes to the same bits; a GGUF file must give the model of the folder that it was converted from. What runs on GPUs:"
    yield "[gpu.md](gpu.md).\n"
    towers = ", ".join(f"`{name}`" for name in available("octavo.towers") if name != "whisper")
    yield f"Images are read on processors, by the vision towers of {towers}: [serving.md](serving.md#images). Of other models of text and"
    yield "images the text half is served. `whisper` hears speech, on processors: [serving.md](serving.md#speech)."
    yield ""
    yield "Decoders make text, or vectors: embeddings by their last token, classes and rewards where the files have such a head."
    yield "Encoders make vectors only, of texts, pairs and tokens; hidden states and logits are held to the reference the same way.\n"
    rows = (
        (
            f"`{each.model_type}`",
            each.makes,
            each.title,
            (each.gguf and f"`{each.gguf}`") or "",
            each.reference,
        )
        for each in families()
    )
    yield from _table(("model_type", "makes", "models", "GGUF", "reference"), rows)
    yield ""
    yield from _through_transformers()


def _through_transformers() -> Iterator[str]:
    from make_tiny_checkpoint import OTHER_TYPES

    yield "## Everything else: through transformers\n"
    yield "A decoder without a file here is built by transformers (`pip install octavo[hf]`, which brings torch), and so is any that"
    yield "`--model-impl transformers` asks for: its layers, our scheduler, pages and attention, so chunks, cached prefixes, preemption"
    yield "and several samples or beams of one prompt are as elsewhere. The log says so. Safetensors folders, text only, in float32 on a"
    yield "processor. Every layer keeps all its tokens, those behind a window too. Held to transformers' logits and 64 greedy tokens by"
    yield f"tests: {', '.join(f'`{name}`' for name in OTHER_TYPES)}, and Gemma 2, gpt-oss and DeepSeek-V3 when asked for. A model is"
    yield "tried when it is loaded: one without a pluggable attention function, one that counts positions itself or keeps a state beside"
    yield "keys and values is refused by name. Classes that a checkpoint brings are not run. It is slower than a native family: torch"
    yield "runs every op by itself.\n"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def main() -> None:
    stale = [name for name, text in pages().items() if not (DOCS / name).is_file() or (DOCS / name).read_text() != text]
    if "--check" in sys.argv[1:]:
        sys.exit(f"not what the code says: {', '.join(stale)}; run tools/docs.py" if stale else 0)
    for name, text in pages().items():
        (DOCS / name).write_text(text)


if __name__ == "__main__":
    main()
