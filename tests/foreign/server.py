# SPDX-License-Identifier: Apache-2.0
"""A server with what the conformance suite looks for by name: ``server.py stdio`` or ``server.py PORT``."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import (
    AudioContent,
    CreateMessageRequestParams,
    EmbeddedResource,
    ImageContent,
    SamplingMessage,
    TextContent,
    TextResourceContents,
)
from pydantic import BaseModel

# One red pixel, and the header of a sound file without a sound.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA="
server = MCPServer("foreign")


class Person(BaseModel):
    """What the user is asked for."""

    username: str
    email: str


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
async def wait() -> str:
    """Wait until cancelled, or for long."""
    await asyncio.sleep(30)
    return "late"


@server.tool()
def test_simple_text() -> str:
    """Text."""
    return "This is a simple text response for testing."


@server.tool()
def test_image_content() -> list[ImageContent]:
    """An image."""
    return [ImageContent(type="image", data=PNG, mime_type="image/png")]


@server.tool()
def test_audio_content() -> list[AudioContent]:
    """A sound."""
    return [AudioContent(type="audio", data=WAV, mime_type="audio/wav")]


def _embedded(uri: str) -> EmbeddedResource:
    inner = TextResourceContents(uri=uri, mime_type="text/plain", text="This is an embedded resource content.")
    return EmbeddedResource(type="resource", resource=inner)


@server.tool()
def test_embedded_resource() -> list[EmbeddedResource]:
    """A resource in the answer."""
    return [_embedded("test://embedded-resource")]


@server.tool()
def test_multiple_content_types() -> list[Any]:
    """Text, image and resource."""
    image = ImageContent(type="image", data=PNG, mime_type="image/png")
    return [TextContent(type="text", text="Multiple content types test:"), image, _embedded("test://mixed-content")]


@server.tool()
def test_error_handling() -> str:
    """Fail."""
    raise RuntimeError("This tool intentionally returns an error for testing")


@server.tool()
async def test_tool_with_progress(context: Context[Any]) -> str:
    """Report progress three times."""
    for done in (0, 50, 100):
        await context.report_progress(done, 100)
        await asyncio.sleep(0.05)
    return "done"


@server.tool()
async def test_sampling(prompt: str, context: Context[Any]) -> str:
    """Ask the client's model."""
    asked = [SamplingMessage(role="user", content=TextContent(type="text", text=prompt))]
    answer = await context.session.create_message(**_sampling(asked))
    return f"LLM response: {getattr(answer.content, 'text', '')}"


def _sampling(messages: list[SamplingMessage]) -> dict[str, Any]:
    params = CreateMessageRequestParams(messages=messages, max_tokens=100)
    return {"messages": params.messages, "max_tokens": params.max_tokens}


@server.tool()
async def test_elicitation(message: str, context: Context[Any]) -> str:
    """Ask the client's user."""
    answer = await context.elicit(message=message, schema=Person)
    return f"User response: {answer.action}"


@server.resource("test://static-text", mime_type="text/plain")
def static_text() -> str:
    """A text."""
    return "This is the content of the static text resource."


@server.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    """Bytes."""
    return PNG.encode()


@server.resource("test://template/{id}/data", mime_type="application/json")
def template(id: str) -> str:  # noqa: A002
    """By id, which is what the suite's template calls it."""
    return f'{{"id": "{id}", "templateTest": true, "data": "Data for ID: {id}"}}'


@server.prompt()
def test_simple_prompt() -> str:
    """A prompt."""
    return "This is a simple prompt for testing."


@server.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt with arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run(transport="stdio")
    else:
        # The suite leaves streams open; none is waited for at the end.
        uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=int(sys.argv[1]), timeout_graceful_shutdown=1)
