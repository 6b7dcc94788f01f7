import sys

import instructor
import openai
from pydantic import BaseModel, Field


class Person(BaseModel):
    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=120)


client = openai.OpenAI(base_url=f"{sys.argv[2]}/v1", api_key="x")
for mode in (instructor.Mode.JSON_SCHEMA, instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT):
    person = instructor.from_openai(client, mode=mode).chat.completions.create(
        model="tiny",
        response_model=Person,
        messages=[{"role": "user", "content": "Ann is 3"}],
        max_tokens=400,
        temperature=0,
        max_retries=1,
    )
    assert isinstance(person, Person)
