-- insert_program --
-- Makes a program, unless there is one of that id.
INSERT INTO programs (program_id, display_name, time_zone, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (program_id) DO NOTHING
RETURNING program_id;

-- get_program_now --
-- Reads a program and the time.
SELECT program_id, display_name, time_zone, rules_revision, created_at, clock_timestamp() AS now
FROM programs
WHERE program_id = $1;

-- lock_program --
-- Locks a program while its rules change.
SELECT program_id FROM programs WHERE program_id = $1 FOR UPDATE;

-- count_rule_change --
-- Tells every server that the rules of a program changed.
UPDATE programs SET rules_revision = rules_revision + 1 WHERE program_id = $1;

-- insert_api_key --
-- Makes a key.
INSERT INTO api_keys (key_id, program_id, secret_hash, scopes, display_name, created_at)
VALUES ($1, $2, $3, $4, $5, $6);

-- find_api_key --
-- Finds a key by its id; reads across programs, since the key tells the program.
SELECT program_id, secret_hash, scopes FROM api_keys WHERE key_id = $1 AND revoked_at IS NULL;

-- revoke_api_key --
-- Revokes a key by its id, across programs; one that was revoked before keeps its time.
UPDATE api_keys SET revoked_at = coalesce(revoked_at, $2) WHERE key_id = $1 RETURNING key_id;

-- create_members --
-- Makes the members that are seen for the first time, in the order of their ids.
INSERT INTO members (program_id, member_id, org_id, created_at, updated_at)
SELECT $1, member_id, org_id, $4, $4
FROM unnest($2::text[], $3::text[]) AS member (member_id, org_id)
ORDER BY member_id
ON CONFLICT (program_id, member_id) DO NOTHING
RETURNING member_id, org_id;

-- read_members --
-- Reads members.
SELECT
    member_id, email, display_name, locale, time_zone, birthday, org_id, attributes, created_at, updated_at, version
FROM members
WHERE program_id = $1 AND member_id = ANY($2::text[]);

-- lock_members --
-- Locks members in the order of their ids, while their claims and usage are looked at.
SELECT member_id FROM members WHERE program_id = $1 AND member_id = ANY($2::text[]) ORDER BY member_id FOR UPDATE;

-- put_member --
-- Makes a member or replaces all that is known of one, where the version is the expected one or none is expected.
INSERT INTO members AS member (
    program_id, member_id, email, display_name, locale, time_zone, birthday, org_id, attributes, created_at, updated_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)
ON CONFLICT (program_id, member_id) DO UPDATE
SET email = excluded.email,
    display_name = excluded.display_name,
    locale = excluded.locale,
    time_zone = excluded.time_zone,
    birthday = excluded.birthday,
    org_id = excluded.org_id,
    attributes = excluded.attributes,
    updated_at = excluded.updated_at,
    version = member.version + 1
WHERE $11::bigint IS NULL OR member.version = $11
RETURNING
    member_id, email, display_name, locale, time_zone, birthday, org_id, attributes, created_at, updated_at, version;

-- insert_rule --
-- Makes a rule, unless there is one of that id.
INSERT INTO rules (program_id, rule_id, version, created_at) VALUES ($1, $2, 1, $3)
ON CONFLICT (program_id, rule_id) DO NOTHING
RETURNING rule_id;

-- insert_rule_version --
-- Writes a version of a rule.
INSERT INTO rule_versions (program_id, rule_id, version, definition, created_at, request_id, fingerprint)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- set_rule_version --
-- Makes a version of a rule the newest one.
UPDATE rules SET version = $3 WHERE program_id = $1 AND rule_id = $2;

-- find_rule_request --
-- Finds the version that a request made.
SELECT version.rule_id, version.version, version.definition, version.created_at AS updated_at, rule.created_at,
    version.fingerprint
FROM rule_versions AS version
INNER JOIN rules AS rule ON rule.program_id = version.program_id AND rule.rule_id = version.rule_id
WHERE version.program_id = $1 AND version.request_id = $2;

-- get_rule --
-- Reads a rule in one version, or in its newest where none is given.
SELECT version.rule_id, version.version, version.definition, version.created_at AS updated_at, rule.created_at
FROM rules AS rule
INNER JOIN rule_versions AS version
    ON version.program_id = rule.program_id
    AND version.rule_id = rule.rule_id
    AND version.version = coalesce($3::integer, rule.version)
WHERE rule.program_id = $1 AND rule.rule_id = $2;

-- list_rules --
-- Lists the rules behind an id in their newest versions.
SELECT version.rule_id, version.version, version.definition, version.created_at AS updated_at, rule.created_at
FROM rules AS rule
INNER JOIN rule_versions AS version
    ON version.program_id = rule.program_id AND version.rule_id = rule.rule_id AND version.version = rule.version
WHERE rule.program_id = $1 AND rule.rule_id > $2
ORDER BY rule.rule_id
LIMIT $3;

-- read_rule_versions --
-- Reads some versions of some rules.
SELECT version.rule_id, version.version, version.definition, version.created_at AS updated_at, rule.created_at
FROM rule_versions AS version
INNER JOIN rules AS rule ON rule.program_id = version.program_id AND rule.rule_id = version.rule_id
WHERE version.program_id = $1
    AND (version.rule_id, version.version) IN (SELECT * FROM unnest($2::text[], $3::integer[]));

-- find_events --
-- Reads the events of some ids, and whether their effects are still to be posted.
SELECT
    event.event_id, event.type, event.member_id, event.org_id, event.occurred_at, event.properties,
    event.depth, event.utc_offset_minutes, event.recorded_at,
    due.work_id IS NOT NULL AS is_pending
FROM events AS event
LEFT JOIN due_work AS due
    ON due.program_id = event.program_id AND due.kind = 'post_effects' AND due.work_id = event.posting_id
WHERE event.program_id = $1 AND event.event_id = ANY($2::text[]);

-- find_decisions --
-- Reads what rules decided on some events, in order.
SELECT
    event_id, place, rule_id, rule_version, recipient_id, asset, amount, expires_at, denial, member_seen, terms,
    counted
FROM decisions
WHERE program_id = $1 AND event_id = ANY($2::text[])
ORDER BY event_id, place;

-- insert_events --
-- Writes events.
INSERT INTO events (
    program_id, recorded_at, posting_id, event_id, type, member_id, org_id, occurred_at, properties, depth,
    utc_offset_minutes
)
SELECT $1, $2, CASE WHEN event.is_paid THEN $3::uuid END, event.event_id, event.type, event.member_id, event.org_id,
    event.occurred_at, event.properties, event.depth, event.utc_offset_minutes
FROM unnest(
    $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[], $9::jsonb[], $10::smallint[], $11::boolean[],
    $12::smallint[]
) AS event (event_id, type, member_id, org_id, occurred_at, properties, depth, is_paid, utc_offset_minutes);

-- find_settlements --
-- Reads what became of what some events gave.
SELECT event_id, settling, settled_at, reason
FROM settlements
WHERE program_id = $1 AND event_id = ANY($2::text[]);

-- insert_settlement --
-- Writes what becomes of what an event gave.
INSERT INTO settlements (program_id, event_id, settling, settled_at, reason)
VALUES ($1, $2, $3, $4, $5);

-- insert_decisions --
-- Writes what rules decided.
INSERT INTO decisions (
    program_id, event_id, place, rule_id, rule_version, recipient_id, asset, amount, expires_at, denial, member_seen,
    terms, counted
)
SELECT $1, decision.*
FROM unnest(
    $2::text[], $3::smallint[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::bigint[], $9::timestamptz[],
    $10::jsonb[], $11::jsonb[], $12::jsonb[], $13::jsonb[]
) AS decision;

-- deny_decisions --
-- Records that the ledger refused what rules had decided, unless that is recorded.
UPDATE decisions AS decision
SET amount = 0, denial = refused.denial
FROM unnest($2::text[], $3::smallint[], $4::jsonb[]) AS refused (event_id, place, denial)
WHERE decision.program_id = $1
    AND decision.event_id = refused.event_id
    AND decision.place = refused.place
    AND decision.denial IS NULL
RETURNING decision.event_id, decision.place;

-- find_claims --
-- Tells which claims were paid before.
SELECT rule_id, member_id, claim
FROM rule_claims
WHERE program_id = $1
    AND (rule_id, member_id, claim) IN (SELECT * FROM unnest($2::text[], $3::text[], $4::text[]));

-- insert_claims --
-- Writes claims that are paid now.
INSERT INTO rule_claims (program_id, rule_id, member_id, claim, event_id)
SELECT $1, claim.* FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS claim;

-- return_claims --
-- Takes back the claims of some members for some rules that events made in vain.
DELETE FROM rule_claims AS claim
USING unnest($2::text[], $3::text[], $4::text[]) AS refused (rule_id, member_id, event_id)
WHERE claim.program_id = $1
    AND claim.rule_id = refused.rule_id
    AND claim.member_id = refused.member_id
    AND claim.event_id = refused.event_id;

-- find_usage --
-- Tells how much of some caps was used.
SELECT rule_id, member_id, period, period_start, amount, count
FROM rule_usage
WHERE program_id = $1
    AND (rule_id, member_id, period, period_start) IN (
        SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::date[])
    );

-- put_usage --
-- Writes how much of some caps is used now.
INSERT INTO rule_usage (program_id, rule_id, member_id, period, period_start, amount, count)
SELECT $1, usage.*
FROM unnest($2::text[], $3::text[], $4::text[], $5::date[], $6::bigint[], $7::bigint[]) AS usage
ON CONFLICT (program_id, rule_id, member_id, period, period_start) DO UPDATE
SET amount = excluded.amount, count = excluded.count;

-- return_usage --
-- Takes out of some caps what was not paid after all.
UPDATE rule_usage AS usage
SET amount = usage.amount - returned.amount, count = usage.count - returned.count
FROM unnest($2::text[], $3::text[], $4::text[], $5::date[], $6::bigint[], $7::bigint[])
    AS returned (rule_id, member_id, period, period_start, amount, count)
WHERE usage.program_id = $1
    AND usage.rule_id = returned.rule_id
    AND usage.member_id = returned.member_id
    AND usage.period = returned.period
    AND usage.period_start = returned.period_start;

-- insert_reward --
-- Makes a reward, unless there is one of that id or of that request.
INSERT INTO rewards (
    program_id, reward_id, display_name, description, asset, cost, fulfilment, created_at, request_id, fingerprint
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT DO NOTHING
RETURNING reward_id;

-- find_reward_request --
-- Finds the reward that a request made.
SELECT reward_id, fingerprint FROM rewards WHERE program_id = $1 AND request_id = $2;

-- get_reward --
-- Reads a reward, with the number of codes that are left.
SELECT
    reward.reward_id, reward.display_name, reward.description, reward.asset, reward.cost, reward.fulfilment,
    reward.created_at,
    (
        SELECT count(*) FROM reward_codes AS code
        WHERE code.program_id = $1 AND code.reward_id = $2 AND code.redemption_id IS NULL
    ) AS code_count
FROM rewards AS reward
WHERE reward.program_id = $1 AND reward.reward_id = $2;

-- list_rewards --
-- Lists the rewards behind an id, with the number of codes that are left.
SELECT
    reward.reward_id, reward.display_name, reward.description, reward.asset, reward.cost, reward.fulfilment,
    reward.created_at,
    (
        SELECT count(*) FROM reward_codes AS code
        WHERE code.program_id = $1 AND code.reward_id = reward.reward_id AND code.redemption_id IS NULL
    ) AS code_count
FROM rewards AS reward
WHERE reward.program_id = $1 AND reward.reward_id > $2
ORDER BY reward.reward_id
LIMIT $3;

-- insert_codes --
-- Adds codes to a pool; those that it has stay as they are.
INSERT INTO reward_codes (program_id, reward_id, code)
SELECT $1, $2, code FROM unnest($3::text[]) AS code
ON CONFLICT (program_id, reward_id, code) DO NOTHING
RETURNING code;

-- claim_code --
-- Takes one free code for a redemption; none where the pool is empty.
UPDATE reward_codes
SET redemption_id = $3
WHERE program_id = $1 AND reward_id = $2 AND code = (
    SELECT code FROM reward_codes
    WHERE program_id = $1 AND reward_id = $2 AND redemption_id IS NULL
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING code;

-- return_code --
-- Puts a code back that nobody has seen.
UPDATE reward_codes SET redemption_id = NULL WHERE program_id = $1 AND redemption_id = $2;

-- insert_redemption --
-- Writes a redemption.
INSERT INTO redemptions (
    program_id, redemption_id, member_id, reward_id, asset, cost, fulfilment, state, created_at, updated_at,
    request_id, fingerprint
)
VALUES ($1, $2, $3, $4, $5, $6, $7, 'PENDING', $8, $8, $9, $10);

-- find_redemption_request --
-- Finds the redemption that a request made.
SELECT redemption_id, fingerprint FROM redemptions WHERE program_id = $1 AND request_id = $2;

-- get_redemption --
-- Reads a redemption.
SELECT
    redemption_id, member_id, reward_id, asset, cost, fulfilment, state, code, refusal, created_at, updated_at
FROM redemptions
WHERE program_id = $1 AND redemption_id = $2;

-- lock_redemption --
-- Locks a redemption while it changes its state, and reads it.
SELECT
    redemption_id, member_id, reward_id, asset, cost, fulfilment, state, code, refusal, created_at, updated_at
FROM redemptions
WHERE program_id = $1 AND redemption_id = $2
FOR UPDATE;

-- list_redemptions --
-- Lists a member's redemptions before an id, newest first.
SELECT
    redemption_id, member_id, reward_id, asset, cost, fulfilment, state, code, refusal, created_at, updated_at
FROM redemptions
WHERE program_id = $1 AND member_id = $2 AND redemption_id < $3
ORDER BY redemption_id DESC
LIMIT $4;

-- update_redemption --
-- Writes how a redemption stands now.
UPDATE redemptions
SET state = $3, code = $4, refusal = $5, updated_at = $6
WHERE program_id = $1 AND redemption_id = $2;

-- check_usage --
-- Compares usage with what was paid: a life-time cap counts no less than its rule paid the member; across programs.
SELECT usage.program_id, usage.rule_id, usage.member_id, usage.amount, usage.count, paid.amount AS paid
FROM rule_usage AS usage
INNER JOIN (
    SELECT program_id, rule_id, recipient_id, sum(amount)::bigint AS amount, count(*) AS count
    FROM decisions
    WHERE amount > 0
    GROUP BY program_id, rule_id, recipient_id
) AS paid
    ON paid.program_id = usage.program_id
    AND paid.rule_id = usage.rule_id
    AND paid.recipient_id = usage.member_id
INNER JOIN (
    -- A cap that came later than the first version of its rule knows only what was paid since.
    SELECT program_id, rule_id FROM rule_versions GROUP BY program_id, rule_id HAVING max(version) = 1
) AS unchanged ON unchanged.program_id = usage.program_id AND unchanged.rule_id = usage.rule_id
WHERE usage.period = 'LIFETIME' AND (usage.amount < paid.amount OR usage.count < paid.count)
LIMIT 20;

-- check_codes --
-- Compares codes with redemptions: each holder is a redemption that has that code, or had it; across programs.
SELECT code.program_id, code.reward_id, code.redemption_id
FROM reward_codes AS code
LEFT JOIN redemptions AS redemption
    ON redemption.program_id = code.program_id AND redemption.redemption_id = code.redemption_id
WHERE code.redemption_id IS NOT NULL AND (
    redemption.redemption_id IS NULL
    OR redemption.reward_id <> code.reward_id
    OR (redemption.state = 'FULFILLED' AND redemption.code <> code.code)
    OR redemption.state = 'REFUSED'
)
LIMIT 20;

-- check_redemptions --
-- Finds redemptions that are under way without due work that would go on with them; across programs.
SELECT redemption.program_id, redemption.redemption_id, redemption.state
FROM redemptions AS redemption
LEFT JOIN due_work AS due
    ON due.program_id = redemption.program_id AND due.kind = 'redeem' AND due.work_id = redemption.redemption_id
WHERE redemption.state IN ('PENDING', 'CANCELLING') AND due.work_id IS NULL
LIMIT 20;

-- count_rows --
-- Counts what there is to check; across programs.
SELECT
    (SELECT count(*) FROM events) AS events,
    (SELECT count(*) FROM decisions) AS decisions,
    (SELECT count(*) FROM rule_usage) AS usages,
    (SELECT count(*) FROM reward_codes WHERE redemption_id IS NOT NULL) AS codes,
    (SELECT count(*) FROM redemptions) AS redemptions;
