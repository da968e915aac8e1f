# SPDX-License-Identifier: Apache-2.0
"""The server that is fuzzed: ``server.py bare|audited stdio|http-stateful|http-stateless PORT``.

Audited, it records every method with arguments and results. No setting asks for that: what people may set never
records housekeeping. So the policy of the assembled Auditor is replaced here by one rule.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "coverage"))


def audit_everything() -> None:
    """Instrument this process, and record each method at the level that keeps the most."""
    from opentelemetry.instrumentation.mcp_audit.auditor import Auditor
    from opentelemetry.instrumentation.mcp_audit.instrumentor import INSTRUMENTATION, McpAuditInstrumentor
    from opentelemetry.instrumentation.mcp_audit.policy.model import Policy, Rule

    McpAuditInstrumentor().instrument()
    auditor = INSTRUMENTATION.auditor()
    assert isinstance(auditor, Auditor), "the audit of this process cannot be set up"
    policy = Policy((Rule("everything", "request_response"),))
    INSTRUMENTATION.substitute(Auditor(replace(auditor.parts, policy=policy)))


def echo(value: Any) -> str:
    """The value again, as text."""
    return repr(value)[:1000]


def fail(value: Any) -> str:
    """Raise with the value in the message."""
    raise RuntimeError(f"cannot use {value!r:.1000}")


def main() -> None:
    kind, transport, port = sys.argv[1:]
    if kind == "audited":
        audit_everything()
    import stack

    made = stack.bare_server("fuzzed")
    for tool in (stack.add, echo, fail):
        made.tool()(tool)
    made.resource("data://text")(stack.text_resource)
    made.prompt()(stack.greet)
    # What a bad message makes the SDK log is not what is compared, and costs more than the message.
    logging.disable(logging.CRITICAL)
    if transport == "stdio":
        stack.serve_stdio(made)
        return
    import uvicorn

    app = stack.asgi_app(made, stateless=transport == "http-stateless")
    uvicorn.run(
        app, host="127.0.0.1", port=int(port), log_level="critical", timeout_graceful_shutdown=1, timeout_keep_alive=120
    )


if __name__ == "__main__":
    main()
