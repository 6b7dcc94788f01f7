"""Names of models on the Hugging Face hub, as a person types them.

Qwen/Qwen3-0.6B                      a repository of safetensors
Qwen/Qwen3-0.6B@a9c98e6              at a branch, tag or commit
Qwen/Qwen3-0.6B-GGUF:Q8_0            the GGUF file of that quantisation
Qwen/Qwen3-0.6B-GGUF:sub/file.gguf   this file
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["HubName", "parse_hub_name"]

_NAME = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?::(?P<file>[\w./-]+))?(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_FILE_SUFFIXES = (".gguf", ".json", ".safetensors", ".bin")


@dataclass(frozen=True, slots=True)
class HubName:
    """Attributes:
    repo: `user/name`.
    file: a file of it, or a quantisation such as `Q4_K_M`; None: what the repository is for.
    revision: branch, tag or commit.
    """

    repo: str
    file: str | None = None
    revision: str = "main"

    def __str__(self) -> str:
        return self.repo + (f":{self.file}" if self.file else "") + (f"@{self.revision}" if self.revision != "main" else "")


def parse_hub_name(text: str) -> HubName | None:
    """Return the name, or None where the text cannot be one, being a path."""
    found = _NAME.fullmatch(text)
    if found is None or found["repo"].endswith(_FILE_SUFFIXES) or ".." in text:
        return None
    return HubName(found["repo"], found["file"], found["revision"] or "main")
