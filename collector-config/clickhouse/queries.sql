-- SPDX-License-Identifier: Apache-2.0
-- What an auditor asks, of the view of mcp_audit.sql. Parameters are given apart, never pasted into the text:
--   clickhouse-client --database audit --param_tool=patient_read --param_since='2026-11-01 00:00:00' … --query "…"
-- Times are UTC. Each is run by the tests on known data, and its result compared.

-- tool_use: Who used this tool in this time, how often, and how did it end?
SELECT user, provenance, outcome, count() AS calls
FROM mcp_audit_records
WHERE event = 'mcp_audit.tool_call' AND tool = {tool:String}
  AND time >= toDateTime64({since:String}, 9, 'UTC') AND time < toDateTime64({until:String}, 9, 'UTC')
GROUP BY user, provenance, outcome
ORDER BY calls DESC, user, outcome;

-- user_activity: What did this user do in this time?
SELECT formatDateTime(time, '%F %T', 'UTC') AS at, tenant, if(tool != '', tool, target) AS what, outcome, detail, client
FROM mcp_audit_records
WHERE user = {user:String} AND event NOT IN ('mcp_audit.lifecycle', 'mcp_audit.gap')
  AND time >= toDateTime64({since:String}, 9, 'UTC') AND time < toDateTime64({until:String}, 9, 'UTC')
ORDER BY time, record_id;

-- refusals: Who was refused what, from where, and why?
SELECT user, client, if(tool != '', tool, method) AS what, reason, count() AS times
FROM mcp_audit_records
WHERE decision = 'denied'
GROUP BY user, client, what, reason
ORDER BY times DESC, user, what;

-- subject_access: Who saw or changed what concerns this person, and for what purpose?
SELECT formatDateTime(time, '%F %T', 'UTC') AS at, user, tool, action, purpose, outcome
FROM mcp_audit_records
WHERE data_subject = {subject:String}
ORDER BY time, record_id;

-- without_purpose: Which successful calls touched data of this class without a stated purpose?
SELECT user, tool, count() AS calls, uniqExact(data_subject) AS people
FROM mcp_audit_records
WHERE has(data_classes, {class:String}) AND purpose = '' AND outcome = 'success'
GROUP BY user, tool
ORDER BY calls DESC, user, tool;

-- off_hours: Who worked at night or at a weekend (before 7, from 19 on, Saturday, Sunday)?
SELECT user, count() AS calls, groupUniqArray(100)(tool) AS tools
FROM mcp_audit_records
WHERE event = 'mcp_audit.tool_call' AND user != ''
  AND (toHour(time, 'UTC') < 7 OR toHour(time, 'UTC') >= 19 OR toDayOfWeek(time, 0, 'UTC') >= 6)
GROUP BY user
ORDER BY calls DESC, user;

-- unrecorded: What does the trail itself say that it does not have: gaps, and calls whose process died?
SELECT service, if(event = 'mcp_audit.gap', 'gap: ' || JSONExtractString(attributes, 'mcp_audit.gap.reason'), 'abandoned: ' || tool) AS what,
       sum(if(event = 'mcp_audit.gap', JSONExtractInt(attributes, 'mcp_audit.gap.count'), 1)) AS records
FROM mcp_audit_records
WHERE event = 'mcp_audit.gap' OR detail = 'abandoned'
GROUP BY service, what
ORDER BY service, what;

-- missing_numbers: Which numbers are lacking in which stream, up to its highest?
SELECT stream_id, previous + 1 AS first_missing, number - 1 AS last_missing
FROM
(
    SELECT stream_id, number, lagInFrame(number, 1, toInt64(0)) OVER (PARTITION BY stream_id ORDER BY number) AS previous
    FROM (SELECT DISTINCT stream_id, number FROM mcp_audit_records WHERE number > 0)
)
WHERE number > previous + 1
ORDER BY stream_id, first_missing;

-- broken_chain: Which records do not join the record before them?
SELECT stream_id, number, record_id
FROM
(
    SELECT stream_id, number, record_id, previous_hash,
           lagInFrame(number) OVER w AS number_before, lagInFrame(hash) OVER w AS hash_before
    FROM mcp_audit_records
    WINDOW w AS (PARTITION BY stream_id ORDER BY number, received ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE number_before = number - 1 AND number > 1 AND previous_hash != hash_before
ORDER BY stream_id, number;

-- changed_copies: Which record ids stand for more than one content? Somebody changed a record and sent it again.
SELECT record_id, count() AS contents, groupUniqArray(10)(outcome) AS outcomes
FROM mcp_audit_records
GROUP BY record_id
HAVING contents > 1
ORDER BY record_id;
