import asyncio
import sys

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai_like import OpenAILike

ran = []


def run(command: str) -> str:
    """Run a command."""
    ran.append(command)
    return "octavo-42"


model = OpenAILike(
    model="tiny", api_base=f"{sys.argv[1]}/v1", api_key="x", is_chat_model=True, is_function_calling_model=True, context_window=60000
)
assert model.complete("hi").text == "The command printed octavo-42."
assert "".join(piece.delta for piece in model.stream_complete("hi")) == "The command printed octavo-42."


async def talk() -> None:
    answer = await FunctionAgent(tools=[run], llm=model).run("What does echo print?")
    assert ran and "octavo" in ran[0], ran
    assert str(answer) == "The command printed octavo-42.", answer


asyncio.run(talk())
