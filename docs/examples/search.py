"""Search by meaning: documents are embedded once, a query finds the nearest ones, and a reranker may look at them again.

python docs/examples/search.py sentence-transformers/all-MiniLM-L6-v2 "How do I feed a panda?"
python docs/examples/search.py EMBEDDER QUERY --reranker cross-encoder/ms-marco-MiniLM-L6-v2
"""

from __future__ import annotations

import argparse

import numpy as np

from octavo import LLM

DOCUMENTS = [
    "Giant pandas eat bamboo, up to 38 kilograms of it a day.",
    "The Eiffel Tower is 330 metres tall.",
    "Zoos give pandas bamboo shoots, carrots and steamed buns.",
    "Bread rises because yeast makes carbon dioxide.",
    "A red panda is no bear, but also lives on bamboo.",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("embedder")
    parser.add_argument("query")
    parser.add_argument("--reranker")
    args = parser.parse_args()
    with LLM(args.embedder) as llm:
        rows = np.array([output.outputs.embedding for output in llm.embed([args.query, *DOCUMENTS])])
    nearest = np.argsort(-(rows[1:] @ rows[0]))[:3]
    for index in nearest:
        print(f"{rows[1 + index] @ rows[0]:.3f}  {DOCUMENTS[index]}")
    if args.reranker:
        found = [DOCUMENTS[index] for index in nearest]
        with LLM(args.reranker) as llm:
            scores = [output.outputs.score for output in llm.score(args.query, found)]
        print("reranked:", found[int(np.argmax(scores))])


if __name__ == "__main__":
    main()
