# SPDX-License-Identifier: Apache-2.0
"""Run by Alembic: the migrations on the connection that it was given. All or nothing where the database can do that."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table="audit_schema_version", transactional_ddl=None)
with context.begin_transaction():
    context.run_migrations()
