# SPDX-License-Identifier: Apache-2.0
"""``uvicorn web:app``, ``gunicorn web:app``."""

from launch_server import server

app = server.streamable_http_app(stateless_http=True, json_response=True)
