# SPDX-License-Identifier: Apache-2.0
"""A server whose tools ask the client something, and a client that answers, on each stack."""

from __future__ import annotations

from typing import Annotated, Any

import stack
from pydantic import BaseModel

if stack.V2:
    from mcp_types import CreateMessageResult, ElicitResult, SamplingMessage, TextContent
else:
    from mcp.types import CreateMessageResult, ElicitResult, SamplingMessage, TextContent
if stack.FASTMCP:
    from fastmcp import Context
elif stack.V2:
    from mcp.server.mcpserver import Context, Elicit, Resolve
else:
    from mcp.server.fastmcp import Context


class Age(BaseModel):
    """What the user is asked for."""

    age: int


async def ask_user(ctx: Context) -> str:
    """Ask the user in the middle of the call."""
    answer = await ctx.elicit("How old?", Age)
    return str(answer.data)


async def ask_model(ctx: Context) -> str:
    """Ask the client's model in the middle of the call."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text="Say hi"))
    answer = await ctx.session.create_message(messages=[message], max_tokens=10)
    return str(answer.content)


def server(*, auth: bool = False) -> Any:
    """The server of ``stack.py`` with the tools above."""
    made = stack.server(auth=auth)
    # Postponed annotations are looked up by name, which differs from stack to stack.
    for tool in (ask_user, ask_model):
        tool.__annotations__["ctx"] = Context
        made.tool()(tool)
    if stack.NAME == "mcp 2.x":

        def how_old() -> Any:
            return Elicit("How old?", Age)

        how_old.__annotations__["return"] = Elicit[Age]

        def ask_in_rounds(age: Any) -> str:
            """Ask the user between two requests."""
            return str(age.age)

        ask_in_rounds.__annotations__["age"] = Annotated[Age, Resolve(how_old)]
        made.tool()(ask_in_rounds)
    return made


async def _user(*_: Any) -> Any:
    return ElicitResult(action="accept", content={"age": 7})


async def _model(*_: Any) -> Any:
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text="hi"), model="test")


ANSWERS: dict[str, Any] = {"elicitation_callback": _user, "sampling_callback": _model}
"""What a client of ``stack.py`` is given so that it answers."""

if __name__ == "__main__":
    stack.serve_stdio(server())
