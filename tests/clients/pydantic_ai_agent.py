import sys

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url=f"{sys.argv[1]}/v1", api_key="x")
models = [OpenAIChatModel("tiny", provider=provider), OpenAIResponsesModel("tiny", provider=provider)]
for model in models:
    agent, ran = Agent(model), []

    @agent.tool_plain
    def run(command: str) -> str:
        """Run a command."""
        ran.append(command)  # noqa: B023
        return "octavo-42"

    answer = agent.run_sync("What does echo print?")
    assert ran and "octavo" in ran[0], (model, ran)
    assert answer.output == "The command printed octavo-42.", (model, answer)
