# SPDX-License-Identifier: Apache-2.0
"""Which requests are recorded, how much of each, and how safely: first match wins, as in the Kubernetes audit policy."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal

from opentelemetry.instrumentation.mcp_audit.record.attributes import METHODS, OTHER_METHOD, Level

Mode = Literal["best_effort", "journaled", "strict"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for the methods it names; an empty tuple matches every method."""

    name: str
    level: Level
    mode: Mode = "journaled"
    methods: tuple[str, ...] = ()

    def matches(self, method: str) -> bool:
        return not self.methods or method in self.methods


@dataclass(frozen=True)
class Policy:
    """Rules in order; the last one must match everything."""

    rules: tuple[Rule, ...]

    def decide(self, method: str) -> Rule:
        """The first rule that matches ``method``."""
        for rule in self.rules:
            if rule.matches(method):
                return rule
        raise ValueError("a policy must end with a rule that matches everything")

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the policy's text, as 64 hex characters: which rules were in force when a record was made."""
        text = json.dumps([asdict(rule) for rule in self.rules], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def builtin(level: Level = "request") -> Policy:
    """The policy in force when nobody wrote one: ``level`` for calls, reads and prompts; known housekeeping methods
    (ping, lists, the handshake) not at all; a method nobody knows, as metadata."""
    content = tuple(name for name, method in METHODS.items() if method.level == "request")
    chatter = tuple(name for name, method in METHODS.items() if method.level == "none")
    return Policy(
        (
            Rule("calls", level, methods=content),
            Rule("chatter", "none", methods=chatter),
            Rule("other", "none" if level == "none" else OTHER_METHOD.level),
        )
    )
