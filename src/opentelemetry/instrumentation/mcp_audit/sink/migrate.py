# SPDX-License-Identifier: Apache-2.0
"""Bring a database to the schema of this release, and say what it lacks: ``sink --migrate`` and ``sink --check``."""

from __future__ import annotations

from importlib import resources
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from sqlalchemy.engine import Connection, Engine

from . import partitions
from .schema import INDEXES, METADATA

VERSION_TABLE: Final = "audit_schema_version"


def migrate(engine: Engine) -> tuple[str | None, str]:
    """Run the migrations that the database lacks, and make the partitions ahead. Returns the version before and after."""
    with engine.connect() as connection:
        before = version(connection)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
        after = version(connection)
        assert after is not None
    partitions.make_ahead(engine)
    return before, after


def missing(engine: Engine) -> list[str]:
    """What the database lacks to be written to by this release, in sentences; nothing when all is there."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    with engine.connect() as connection:
        found = version(connection)
        if found != head:
            return [f"the schema is at version {found or 'none'}, this release writes {head}: run sink --migrate"]
        said = _missing_parts(connection)
    return said + partitions.missing(engine)


def version(connection: Connection) -> str | None:
    """The schema version of the database, None when it has none."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _missing_parts(connection: Connection) -> list[str]:
    inspector = inspect(connection)
    said: list[str] = []
    for table in METADATA.tables.values():
        if not inspector.has_table(table.name):
            said.append(f"there is no table {table.name}")
            continue
        there = {column["name"] for column in inspector.get_columns(table.name)}
        said += [f"{table.name} has no column {column.name}" for column in table.columns if column.name not in there]
    if not said:
        indexes = {index["name"] for index in inspector.get_indexes("audit_log")}
        said += [f"audit_log has no index {name}" for name in INDEXES if name not in indexes]
    return said


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files(__package__) / "migrations"))
    return config
