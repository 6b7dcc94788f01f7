"""Structured output: grammars that a text must follow, as masks over the vocabulary, through the library llguidance.

`grammar.py` makes one text format of every kind of constraint; `compiler.py` checks it, within bounds of time and size, before a
request is queued; `matchers.py` holds the state of each running row beside the sampler, and is imported by itself: it needs numpy, which a
server does without.
"""

from __future__ import annotations

from octavo.structured.compiler import GrammarCompiler
from octavo.structured.grammar import (
    choice_grammar,
    ebnf_grammar,
    embedded_schema,
    json_object_grammar,
    json_schema_grammar,
    lark_grammar,
    regex_grammar,
)
from octavo.structured.structural_tags import Structure, structural_tag_grammar

__all__ = [
    "GrammarCompiler",
    "Structure",
    "choice_grammar",
    "ebnf_grammar",
    "embedded_schema",
    "json_object_grammar",
    "json_schema_grammar",
    "lark_grammar",
    "regex_grammar",
    "structural_tag_grammar",
]
