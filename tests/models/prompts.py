"""Twenty-odd varied prompts: raw text, chat, code, several scripts, and one of about 1,500 tokens."""

from __future__ import annotations

__all__ = ["CHATS", "LONG", "RAW"]

RAW = [
    "The capital of France is",
    "Once upon a time, in a village at the foot of a mountain,",
    "def fibonacci(n):\n    ",
    "#include <stdio.h>\n\nint main(void) {\n",
    "SELECT name, count(*) FROM orders",
    "Die Würde des Menschen ist",
    "こんにちは、世界。今日は",
    "Привет! Как у тебя",
    "العربية لغة",
    "🎉🎂 Happy birthday 👩‍👩‍👧‍👦",
    "1, 1, 2, 3, 5, 8, 13,",
    "Q: What is 17 + 25?\nA:",
    '{"name": "Ada", "born": 1815, "known_for": [',
    "<html>\n<head><title>Test</title></head>\n<body>",
    "The mitochondria is the",
    "\n\n\n",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
]

CHATS = [
    [{"role": "user", "content": "What is gravity?"}],
    [{"role": "system", "content": "You answer in one short sentence."}, {"role": "user", "content": "Why is the sky blue?"}],
    [
        {"role": "user", "content": "Name a prime number."},
        {"role": "assistant", "content": "7"},
        {"role": "user", "content": "Another one, larger than 100?"},
    ],
    [{"role": "user", "content": "Write a haiku about the sea."}],
    [{"role": "user", "content": "Übersetze ins Englische: Guten Morgen, wie geht es dir? 😀"}],
]

LONG = " ".join(
    f"Chapter {number}. The traveller walked for {number * 3} days and met {number + 2} strangers, each of whom told a story about"
    f" a river, a bridge and {['a lantern', 'an old map', 'a silver coin', 'a blind dog'][number % 4]}."
    for number in range(1, 43)
)
