# SPDX-License-Identifier: Apache-2.0
"""The first schema: audit_log, audit_conflict, audit_rejected. Frozen: what changes later is a migration of its own."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME, LONGTEXT
from sqlalchemy.dialects.postgresql import JSONB, UUID

revision = "0001"
down_revision = None

_MY = ("mysql", "mariadb")


def _moment() -> Any:
    return sa.DateTime(timezone=True).with_variant(DATETIME(fsp=6), *_MY)


def _document() -> Any:
    return sa.JSON().with_variant(JSONB(), "postgresql")


def _text() -> Any:
    return sa.Text().with_variant(LONGTEXT(), *_MY)


def _number() -> Any:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _identifier() -> Any:
    return sa.String(36).with_variant(UUID(as_uuid=False), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    # utf8mb4_bin: names that differ in case or accents are different names.
    options: dict[str, Any] = {
        f"{dialect}_{option}": value
        for dialect in _MY
        for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
    }
    if postgresql:
        op.execute("CREATE SEQUENCE audit_log_id_seq")
        options["postgresql_partition_by"] = "RANGE (record_id)"
        first = [
            sa.Column("id", sa.BigInteger(), nullable=False, server_default=sa.text("nextval('audit_log_id_seq')")),
            sa.Column("record_id", _identifier(), primary_key=True),
        ]
    else:
        first = [
            sa.Column("id", _number(), primary_key=True, autoincrement=True),
            sa.Column("record_id", _identifier(), nullable=False, unique=True),
        ]
    op.create_table("audit_log", *first, *_columns(), **options)
    if postgresql:
        op.execute("ALTER SEQUENCE audit_log_id_seq OWNED BY audit_log.id")
        # For ids that carry no time, or one that no month was made for.
        op.execute("CREATE TABLE audit_log_other PARTITION OF audit_log DEFAULT")
    for name, columns in (
        ("idx_timestamp", ["timestamp"]),
        ("idx_user_id", ["user_id"]),
        ("idx_tenant_id", ["tenant_id"]),
        ("idx_tool", ["tool"]),
        ("idx_stream", ["stream_id", "sequence_number"]),
    ):
        op.create_index(name, "audit_log", columns)
    for table, more in (
        (
            "audit_conflict",
            [sa.Column("record_id", _identifier(), nullable=False), _string("reason", 255, nullable=False)],
        ),
        ("audit_rejected", [_string("reason", 1024, nullable=False)]),
    ):
        options.pop("postgresql_partition_by", None)
        op.create_table(
            table,
            sa.Column("id", _number(), primary_key=True, autoincrement=True),
            *more,
            sa.Column("received_at", _moment(), nullable=False),
            _string("line_hash", 64, nullable=False),
            sa.Column("line", _text(), nullable=False),
            **options,
        )
    op.create_index("idx_conflict_record", "audit_conflict", ["record_id"])


def _columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("timestamp", _moment(), nullable=False),
        _string("event_name"),
        _string("tool"),
        _string("user_id"),
        sa.Column("params", _document()),
        _string("request_id"),
        _string("client_ip", 45),
        _string("tenant_id"),
        _string("outcome", 16),
        _string("outcome_detail", 32),
        _string("decision", 16),
        _string("decision_by"),
        _string("decision_reason"),
        _string("error_type"),
        _string("method"),
        _string("action", 32),
        _string("target", 1024),
        _string("actor_id"),
        _string("actor_type", 32),
        _string("actor_provenance", 16),
        _string("user_email"),
        _string("client_id"),
        _string("session_id"),
        _string("call_id", 64),
        _string("trace_id", 32),
        _string("span_id", 16),
        sa.Column("duration_us", sa.BigInteger()),
        _string("level", 32),
        _string("service_name"),
        _string("stream_id"),
        sa.Column("sequence_number", sa.BigInteger()),
        _string("content_digest", 128),
        _string("previous_hash", 128),
        _string("record_hash", 128),
        sa.Column("received_at", _moment(), nullable=False, server_default=sa.func.now()),
        sa.Column("record", _document(), nullable=False),
        sa.Column("line", _text(), nullable=False),
    ]


def _string(name: str, width: int = 255, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.String(width), nullable=nullable)
