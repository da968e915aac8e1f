# SPDX-License-Identifier: Apache-2.0
"""``python -m launch_server``."""

from launch_server import main

main()
