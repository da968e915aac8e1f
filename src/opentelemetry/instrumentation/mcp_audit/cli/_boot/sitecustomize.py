# SPDX-License-Identifier: Apache-2.0
"""Loaded by every Python process under ``otel-mcp-audit run``, before the program: audit first, then OpenTelemetry.

1. Our hooks. Whatever fails here ends the process with 78: it was started to run audited or not at all. In a Python
   that does not have this package, importing an MCP server does; other Python programs there are left alone.
2. OpenTelemetry's own initialisation. What fails here is one line on stderr: it can cost spans, never the audit.
3. The ``sitecustomize`` that would have been loaded without us.

Nothing here prints on stdout (it belongs to the protocol).
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys

_BOOT = os.path.dirname(os.path.abspath(__file__))
_SERVERS = ("mcp.server", "fastmcp.server")


def _say(sentence: str) -> None:
    sys.stderr.write(f"otel-mcp-audit run: {sentence}\n")
    sys.stderr.flush()


def _end(sentence: str) -> None:
    _say(f"ending with 78, because this process was started to run only audited: {sentence}")
    os._exit(78)


def _without_boot(paths: list[str]) -> list[str]:
    return [path for path in paths if os.path.abspath(path or os.curdir) != _BOOT]


class _NoServer:
    """Import finder for a Python without this package: an MCP server must not run here unaudited."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name in _SERVERS:
            _end(f"{sys.executable} has no opentelemetry-instrumentation-mcp-audit, so {name} cannot be audited")


def _hooks() -> bool:
    try:
        from opentelemetry.instrumentation.mcp_audit.instrumentor import pre_instrument
    except ImportError:
        sys.meta_path.insert(0, _NoServer)
        return False
    try:
        pre_instrument()
    except Exception as error:
        _end(f"the hooks cannot be installed: {type(error).__name__}: {error}")
    return True


def _opentelemetry() -> None:
    import logging

    told: list[tuple[str, BaseException | None]] = []

    class Hold(logging.Filter):
        """Keeps back what would be a traceback on stderr; it is told below in one line."""

        def filter(self, record: logging.LogRecord) -> bool:
            if record.exc_info is not None:
                told.append((record.getMessage(), record.exc_info[1]))
            return record.exc_info is None

    name = "opentelemetry.instrumentation.auto_instrumentation"
    loggers = [logging.getLogger(name), logging.getLogger(f"{name}._load")]
    hold = Hold()
    for logger in loggers:
        logger.addFilter(hold)
    # As OpenTelemetry does with its own directory: processes started while it initialises must not do it again.
    python_path = os.environ.get("PYTHONPATH")
    if python_path is not None:
        os.environ["PYTHONPATH"] = os.pathsep.join(_without_boot(python_path.split(os.pathsep)))
    failure: BaseException | None = None
    try:
        from opentelemetry.instrumentation.auto_instrumentation import initialize

        initialize(swallow_exceptions=False)
    except Exception as error:
        failure = error
        _say(f"OpenTelemetry could not be initialised ({_short(error)}); the audit is not affected")
    finally:
        if python_path is not None:
            os.environ["PYTHONPATH"] = python_path
        for logger in loggers:
            logger.removeFilter(hold)
    for message, cause in told:
        if cause is not failure:
            _say(f"{message} ({_short(cause)}); the audit is not affected")


def _short(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _next_sitecustomize() -> None:
    try:
        auto = importlib.util.find_spec("opentelemetry.instrumentation")
    except ImportError:
        auto = None
    # OpenTelemetry's launcher puts a sitecustomize there that only does what was done above.
    done = [os.path.join(path, "auto_instrumentation") for path in (auto and auto.submodule_search_locations) or ()]
    paths = [path for path in _without_boot(sys.path) if os.path.abspath(path or os.curdir) not in done]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", paths)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


if _hooks():
    _opentelemetry()
_next_sitecustomize()
