# SPDX-License-Identifier: Apache-2.0
"""The tables as SQLAlchemy knows them, for statements and for ``--check``; ``migrations/`` makes them.

``audit_log`` is one row a record. ``audit_conflict`` keeps a second copy of a record that is not the same: somebody changed
one of them. ``audit_rejected`` keeps what cannot be a record of the trail.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Column, DateTime, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects.mysql import DATETIME, LONGTEXT
from sqlalchemy.dialects.postgresql import JSONB, UUID

from .rows import LONG, SHORT

METADATA: Final = MetaData()


def moment() -> Any:
    """A time in UTC with microseconds, in every dialect."""
    return DateTime(timezone=True).with_variant(DATETIME(fsp=6), "mysql", "mariadb")


def document() -> Any:
    """JSON that can be asked into."""
    return JSON().with_variant(JSONB(), "postgresql")


def whole_text() -> Any:
    """Text of any length."""
    return Text().with_variant(LONGTEXT(), "mysql", "mariadb")


def identifier() -> Any:
    """A record id: the 36 characters of a UUID, where the database has no type for it."""
    return String(36).with_variant(UUID(as_uuid=False), "postgresql")


def number() -> Any:
    """A number that the database gives; SQLite counts only in its own INTEGER."""
    return BigInteger().with_variant(Integer(), "sqlite")


# On PostgreSQL the table is cut into months by `record_id`, whose UUIDv7 begins with the time: the key of a partitioned
# table must hold what it is cut by, and a record must be found to be there already whatever its copy says of the time.
AUDIT_LOG: Final = Table(
    "audit_log",
    METADATA,
    Column("id", number()),
    Column("record_id", identifier(), nullable=False),
    Column("timestamp", moment(), nullable=False),
    Column("event_name", String(SHORT)),
    Column("tool", String(SHORT)),
    Column("user_id", String(SHORT)),
    Column("params", document()),
    Column("request_id", String(SHORT)),
    Column("client_ip", String(45)),
    Column("tenant_id", String(SHORT)),
    Column("outcome", String(16)),
    Column("outcome_detail", String(32)),
    Column("decision", String(16)),
    Column("decision_by", String(SHORT)),
    Column("decision_reason", String(SHORT)),
    Column("error_type", String(SHORT)),
    Column("method", String(SHORT)),
    Column("action", String(32)),
    Column("target", String(LONG)),
    Column("actor_id", String(SHORT)),
    Column("actor_type", String(32)),
    Column("actor_provenance", String(16)),
    Column("user_email", String(SHORT)),
    Column("client_id", String(SHORT)),
    Column("session_id", String(SHORT)),
    Column("call_id", String(64)),
    Column("trace_id", String(32)),
    Column("span_id", String(16)),
    Column("duration_us", BigInteger()),
    Column("level", String(32)),
    Column("service_name", String(SHORT)),
    Column("stream_id", String(SHORT)),
    Column("sequence_number", BigInteger()),
    Column("content_digest", String(128)),
    Column("previous_hash", String(128)),
    Column("record_hash", String(128)),
    Column("received_at", moment(), nullable=False),
    Column("record", document(), nullable=False),
    Column("line", whole_text(), nullable=False),
)

AUDIT_CONFLICT: Final = Table(
    "audit_conflict",
    METADATA,
    Column("id", number()),
    Column("record_id", identifier(), nullable=False),
    Column("reason", String(SHORT), nullable=False),
    Column("received_at", moment(), nullable=False),
    Column("line_hash", String(64), nullable=False),
    Column("line", whole_text(), nullable=False),
)

AUDIT_REJECTED: Final = Table(
    "audit_rejected",
    METADATA,
    Column("id", number()),
    Column("reason", String(LONG), nullable=False),
    Column("received_at", moment(), nullable=False),
    Column("line_hash", String(64), nullable=False),
    Column("line", whole_text(), nullable=False),
)

# Those of the seed by its names, and what an auditor asks besides.
INDEXES: Final[dict[str, tuple[str, ...]]] = {
    "idx_timestamp": ("timestamp",),
    "idx_user_id": ("user_id",),
    "idx_tenant_id": ("tenant_id",),
    "idx_tool": ("tool",),
    "idx_stream": ("stream_id", "sequence_number"),
}

COLUMNS: Final = tuple(column.name for column in AUDIT_LOG.columns if column.name != "id")
