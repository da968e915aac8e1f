# SPDX-License-Identifier: Apache-2.0
"""Which OpenTelemetry context a request belongs to, where the SDK makes no span of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context, get_current
from opentelemetry.trace import Span, get_current_span

from opentelemetry import propagate


def ambient_or_remote(meta: Mapping[str, Any], ambient: Context | None = None) -> Context:
    """The context named by ``_meta.traceparent`` (SEP-414) if there is a valid one, else the ambient one."""
    here = get_current() if ambient is None else ambient
    if not isinstance(meta.get("traceparent"), str):
        return here
    # Only what is text is handed on: propagators raise on anything else.
    carrier = {name: meta[name] for name in ("traceparent", "tracestate", "baggage") if isinstance(meta.get(name), str)}
    try:
        remote = propagate.extract(carrier, context=here)
    except Exception:  # a propagator of the application's, fed by a stranger: its failure is not the call's
        return here
    return remote if span_of(remote) is not None else here


def span_of(context: Context | None) -> Span | None:
    """The span in ``context`` if it is a valid one."""
    if context is None:
        return None
    span = get_current_span(context)
    return span if is_valid(span) else None


def is_valid(span: Span) -> bool:
    """Whether ``span`` has ids. One of a vendor's that cannot even be asked has none."""
    try:
        return span.get_span_context().is_valid
    except Exception:
        return False
