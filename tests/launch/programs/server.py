# SPDX-License-Identifier: Apache-2.0
"""``python server.py``, ``mcp run server.py``."""

from launch_server import main, server

mcp = server

if __name__ == "__main__":
    main()
