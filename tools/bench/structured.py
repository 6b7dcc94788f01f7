#!/usr/bin/env python3
"""What structured output costs a step, and how many steps forced tokens save: 16 requests at once, free and under a JSON schema.

python tools/bench/structured.py [--model MODEL] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

from octavo import LLM, SamplingParams
from octavo.structured import json_schema_grammar

NUM_REQUESTS = 16
SCHEMA = {
    "type": "object",
    "properties": {
        "full_name": {"type": "string", "maxLength": 40},
        "age_in_years": {"type": "integer", "minimum": 0, "maximum": 120},
        "favourite_colours": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 1, "maxItems": 3},
        "address": {
            "type": "object",
            "properties": {"street": {"type": "string", "maxLength": 40}, "postal_code": {"type": "string", "pattern": "^[0-9]{5}$"}},
            "required": ["street", "postal_code"],
            "additionalProperties": False,
        },
    },
    "required": ["full_name", "age_in_years", "favourite_colours", "address"],
    "additionalProperties": False,
}


def measure(llm: LLM, params: SamplingParams) -> tuple[int, int, int, float]:
    """Tokens of all answers and of the longest, steps, and milliseconds a token."""
    steps = llm.engine.stats().steps
    started = time.perf_counter()
    prompts = [f"Person number {index} as JSON:" for index in range(NUM_REQUESTS)]
    outputs = llm.generate(prompts, params, use_tqdm=False)
    elapsed_ms = (time.perf_counter() - started) * 1e3
    if params.grammar is not None:
        for output in outputs:
            if output.outputs[0].finish_reason == "stop":
                json.loads(output.outputs[0].text)
    steps = llm.engine.stats().steps - steps
    lengths = [len(output.outputs[0].token_ids) for output in outputs]
    return sum(lengths), max(lengths), steps, elapsed_ms / sum(lengths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="", help="model folder, .gguf file or name; empty: the default model")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    free = SamplingParams(max_tokens=80, temperature=0.8, seed=1, ignore_eos=True)
    held = SamplingParams(max_tokens=200, temperature=0.8, seed=1, grammar=json_schema_grammar(SCHEMA))
    ratios = []
    with LLM(options.model, prefix_caching=False) as llm:
        measure(llm, free), measure(llm, held)  # the first makes the grammar's tables
        for _ in range(options.rounds):
            sides = {name: measure(llm, params) for name, params in (("free", free), ("schema", held))}
            for name, (tokens, longest, steps, token_ms) in sides.items():
                print(f"{name:7s} {tokens:5d} tokens, the longest answer has {longest:4d}, in {steps:4d} steps, {token_ms:6.2f} ms a token")
            ratios.append(sides["schema"][3] / sides["free"][3])
    print(f"a token under the schema takes {statistics.median(ratios):.3f} times as long")


if __name__ == "__main__":
    main()
