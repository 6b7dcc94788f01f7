"""Continue the lines of a file, all in one batch: python offline.py PROMPTS.txt [MODEL]"""

from __future__ import annotations

import sys
from pathlib import Path

from octavo import LLM, SamplingParams


def main(prompts: str, model: str = "") -> None:
    with LLM(model) as llm:
        for output in llm.generate(Path(prompts).read_text().splitlines(), SamplingParams(temperature=0, max_tokens=32)):
            print(output.prompt, "->", output.outputs[0].text.replace("\n", " "))


if __name__ == "__main__":
    main(*sys.argv[1:])
