"""A server for agents' clients: the real engine over a random model with a long window, whose answers a grammar dictates.

    python -m fakes.agent_server MODEL.gguf

To a request with a tool that runs commands it answers with a call of it, to one that holds such a tool's result, and to any other, with
`ANSWER`. Everything else is as in `octavo serve`. The address is the first line of standard output.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from dataclasses import replace
from typing import Any

from aiohttp import web

from octavo.assemble import build_engine
from octavo.config import EngineConfig, ServerConfig
from octavo.server.app import build_app
from octavo.structured import choice_grammar
from octavo.types import GenerationRequest

__all__ = ["ANSWER", "COMMAND", "dictate"]

COMMAND = "echo octavo-$((40 + 2))"
ANSWER = "The command printed octavo-42."
_RUNNERS: dict[str, dict[str, Any]] = {  # tools that run commands, as the clients name them
    "exec_command": {"cmd": COMMAND},
    "shell": {"command": ["bash", "-lc", COMMAND]},
    "shell_command": {"command": COMMAND},
    "local_shell": {"command": ["bash", "-lc", COMMAND]},
    "Bash": {"command": COMMAND, "description": "Print a text"},
    "bash": {"command": COMMAND, "description": "Print a text"},
    "run": {"command": COMMAND},
}
_TOOLS = re.compile(r'"name": "(' + "|".join(_RUNNERS) + r')"')


def dictated(prompt: str) -> str:
    """The text that the model is to write after a prompt."""
    tool = _TOOLS.search(prompt)
    asked = prompt.rfind("<|im_start|>user")
    if tool is None or "<tool_response>" in prompt[asked:]:
        return ANSWER
    return f"<tool_call>\n{json.dumps({'name': tool[1], 'arguments': _RUNNERS[tool[1]]})}\n</tool_call>"


def dictate(engine: Any) -> None:
    """Make every request of an engine follow a grammar that has one text."""
    submit = engine.submit

    async def with_grammar(request: GenerationRequest, *more: Any, **options: Any) -> Any:
        text = dictated(engine.tokenizer.decode(request.prompt_token_ids, skip_special_tokens=False))
        params = replace(request.params, grammar=choice_grammar([text]), max_tokens=1024, min_tokens=0, stop=())
        return await submit(replace(request, params=params), *more, **options)

    engine.submit = with_grammar


async def _serve(model: str) -> None:
    engine = build_engine(
        EngineConfig.of(
            model=model, max_num_seqs=8, max_model_len=65536, kv_cache_bytes=256 << 20, log_stats_s=0, served_model_name=("tiny",)
        )
    )
    dictate(engine)
    runner = web.AppRunner(build_app(engine, ServerConfig()))
    await runner.setup()
    await engine.start()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
