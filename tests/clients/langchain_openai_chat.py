import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def run(command: str) -> str:
    """Run a command."""
    return "octavo-42"


for responses in (False, True):
    model = ChatOpenAI(model="tiny", base_url=f"{sys.argv[1]}/v1", api_key="x", use_responses_api=responses, stream_usage=True)
    talk = [HumanMessage("What does echo print?")]
    talk.append(model.bind_tools([run]).invoke(talk))
    [call] = talk[-1].tool_calls
    assert call["name"] == "run" and "octavo" in call["args"]["command"], talk[-1]
    talk.append(ToolMessage(run.invoke(call["args"]), tool_call_id=call["id"]))
    answer = None
    for chunk in model.bind_tools([run]).stream(talk):
        answer = chunk if answer is None else answer + chunk
    assert answer.text == "The command printed octavo-42.", answer
    assert answer.usage_metadata["output_tokens"] > 0, answer
