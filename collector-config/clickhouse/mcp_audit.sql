-- SPDX-License-Identifier: Apache-2.0
-- The table that sinks/clickhouse.yaml writes, and the view that people read. Once, in a database of its own:
--   clickhouse-client --query "CREATE DATABASE IF NOT EXISTS audit"
--   clickhouse-client --database audit --multiquery < mcp_audit.sql
--
-- The first columns have the names that the Collector's exporter inserts into; all others are made of them here, so no sender can
-- say one thing in a column and another in the record. Attributes are JSON text: it keeps integers, booleans and lists apart from
-- strings, which the record's hash needs and a Map(String, String) does not. `otel-mcp-audit verify clickhouse://…` makes the
-- record of the first columns again and recomputes hash, content digest and chain.
CREATE TABLE IF NOT EXISTS mcp_audit
(
    Timestamp          DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    TraceId            String CODEC(ZSTD(1)),
    SpanId             String CODEC(ZSTD(1)),
    TraceFlags         UInt8,
    -- No severity: records have none. The exporter has no column for the time of observation, and leaves the event's name out for
    -- as long as it runs when ClickHouse was away at its start; so sinks/clickhouse.yaml puts both here: `<nanoseconds> <name>`.
    SeverityText       String CODEC(ZSTD(1)),
    SeverityNumber     UInt8,
    ServiceName        LowCardinality(String),
    Body               String CODEC(ZSTD(3)),
    ResourceSchemaUrl  LowCardinality(String),
    ResourceAttributes String CODEC(ZSTD(1)),
    ScopeSchemaUrl     LowCardinality(String),
    ScopeName          LowCardinality(String),
    ScopeVersion       LowCardinality(String),
    ScopeAttributes    String CODEC(ZSTD(1)),   -- never LowCardinality: the exporter sends bytes, and its driver then brings the Collector down
    LogAttributes      String CODEC(ZSTD(3)),
    EventName          LowCardinality(String) DEFAULT substring(SeverityText, position(SeverityText, ' ') + 1),

    ObservedTime    DateTime64(9) MATERIALIZED fromUnixTimestamp64Nano(toInt64OrZero(splitByChar(' ', SeverityText)[1])),
    ReceivedAt      DateTime64(3) MATERIALIZED now64(3),
    RecordId        String MATERIALIZED lower(JSONExtractString(LogAttributes, 'audit.record.id')),
    StreamId        LowCardinality(String) MATERIALIZED JSONExtractString(ResourceAttributes, 'mcp_audit.stream.id'),
    SequenceNumber  Int64 MATERIALIZED JSONExtractInt(LogAttributes, 'audit.sequence.number'),
    PreviousHash    String MATERIALIZED JSONExtractString(LogAttributes, 'audit.sequence.previous_hash'),
    RecordHash      String MATERIALIZED JSONExtractString(LogAttributes, 'mcp_audit.record.hash'),
    TenantId        LowCardinality(String) MATERIALIZED JSONExtractString(LogAttributes, 'mcp_audit.tenant.id'),
    Tool            LowCardinality(String) MATERIALIZED JSONExtractString(LogAttributes, 'gen_ai.tool.name'),
    Method          LowCardinality(String) MATERIALIZED JSONExtractString(LogAttributes, 'mcp.method.name'),
    Action          LowCardinality(String) MATERIALIZED JSONExtractString(LogAttributes, 'audit.action'),
    Target          String MATERIALIZED JSONExtractString(LogAttributes, 'audit.target.id'),
    Outcome         LowCardinality(String) MATERIALIZED JSONExtractString(LogAttributes, 'audit.outcome'),
    OutcomeDetail   LowCardinality(String) MATERIALIZED JSONExtractString(LogAttributes, 'mcp_audit.outcome.detail'),
    Decision        LowCardinality(String) MATERIALIZED JSONExtractString(LogAttributes, 'mcp_audit.decision'),
    DecisionReason  LowCardinality(String) MATERIALIZED JSONExtractString(LogAttributes, 'mcp_audit.decision.reason'),
    ErrorType       LowCardinality(String) MATERIALIZED JSONExtractString(LogAttributes, 'error.type'),
    ActorId         String MATERIALIZED JSONExtractString(LogAttributes, 'audit.actor.id'),
    ActorType       LowCardinality(String) MATERIALIZED JSONExtractString(LogAttributes, 'audit.actor.type'),
    Provenance      LowCardinality(String) MATERIALIZED JSONExtractString(LogAttributes, 'mcp_audit.actor.provenance'),
    UserId          String MATERIALIZED JSONExtractString(LogAttributes, 'user.id'),
    ClientAddress   String MATERIALIZED JSONExtractString(LogAttributes, 'client.address'),
    SessionId       String MATERIALIZED JSONExtractString(LogAttributes, 'mcp.session.id'),
    CallId          String MATERIALIZED JSONExtractString(LogAttributes, 'mcp_audit.call.id'),
    RequestId       String MATERIALIZED JSONExtractString(LogAttributes, 'mcp_audit.request.id'),
    DurationUs      Int64 MATERIALIZED JSONExtractInt(LogAttributes, 'mcp_audit.duration_us'),
    Purpose         LowCardinality(String) MATERIALIZED JSONExtractString(LogAttributes, 'mcp_audit.purpose'),
    DataSubject     String MATERIALIZED JSONExtractString(LogAttributes, 'mcp_audit.data.subject'),
    DataClasses     Array(LowCardinality(String)) MATERIALIZED JSONExtract(LogAttributes, 'mcp_audit.data.classes', 'Array(String)'),

    -- What makes two copies the same: everything but what carriers add on the way. It is in the key below, so that a record that is
    -- sent again replaces itself, while a changed copy under the same id stays beside it instead of taking its place.
    Content FixedString(32) MATERIALIZED SHA256(toString((
        toUnixTimestamp64Nano(Timestamp), SeverityText, EventName, TraceId, SpanId, Body, ResourceAttributes, ScopeName, ScopeVersion,
        arrayFilter(pair -> pair.1 NOT IN ('mcp_audit.collector.peer', 'mcp_audit.collector.subject', 'log.file.name', 'log.file.path',
                                           'log.file.name_resolved', 'log.file.path_resolved'),
                    JSONExtractKeysAndValuesRaw(LogAttributes))))),
    -- Of equal copies the highest stays: the one that came first, so that ReceivedAt says when the record came.
    Earliest UInt64 MATERIALIZED 9000000000000 - toUnixTimestamp64Milli(ReceivedAt),

    INDEX by_record RecordId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_call CallId TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_user UserId TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_subject DataSubject TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_trace TraceId TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(Earliest)
PARTITION BY toYYYYMM(Timestamp)
PRIMARY KEY (TenantId, Tool, Timestamp)
ORDER BY (TenantId, Tool, Timestamp, RecordId, Content)
-- Six years is HIPAA's, seven SOX's; by when a record came, so that no clock and no date makes one go earlier. What is older goes,
-- whole months at once, and `verify` then finds the beginnings of old streams missing: keep the archive for as long as a chain must
-- be shown. Change it with ALTER TABLE mcp_audit MODIFY TTL ….
TTL toDateTime(ReceivedAt) + INTERVAL 7 YEAR
SETTINGS ttl_only_drop_parts = 1,      -- no part is rewritten for a TTL: dropped when all of it is due
         fsync_after_insert = 1,       -- an answer of 200 to the Collector, which forgets the records then, means: on the disk
         fsync_part_directory = 1;     -- and findable there after a power cut

-- One row a record, however often it came, by names that need no explanation. Read this one.
CREATE VIEW IF NOT EXISTS mcp_audit_records AS
SELECT
    Timestamp AS time, TenantId AS tenant, multiIf(UserId != '', UserId, ActorType = 'system' OR ActorId IN ('anonymous', 'unknown'), '', ActorId) AS user,
    Provenance AS provenance, EventName AS event, Method AS method, Tool AS tool, Target AS target, Action AS action,
    Outcome AS outcome, OutcomeDetail AS detail, Decision AS decision, DecisionReason AS reason, ErrorType AS error,
    ClientAddress AS client, SessionId AS session, CallId AS call_id, RequestId AS request_id, TraceId AS trace_id,
    DurationUs AS duration_us, Purpose AS purpose, DataSubject AS data_subject, DataClasses AS data_classes,
    JSONExtractRaw(Body, 'arguments') AS arguments, ServiceName AS service, RecordId AS record_id, StreamId AS stream_id,
    SequenceNumber AS number, PreviousHash AS previous_hash, RecordHash AS hash, ReceivedAt AS received, LogAttributes AS attributes
FROM mcp_audit FINAL;
