# SPDX-License-Identifier: Apache-2.0
"""What this package instruments, in the form OpenTelemetry's loader reads."""

_instruments = ("mcp >= 1.24, < 3",)
_supports_metrics = False
_semconv_status = "development"
