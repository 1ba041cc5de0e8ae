-- insert_referral_program --
-- Makes the row of a referral program where there is none.
INSERT INTO referral_programs (program_id, referral_program_id, version, created_at)
VALUES ($1, $2, 1, $3)
ON CONFLICT (program_id, referral_program_id) DO NOTHING
RETURNING referral_program_id;

-- lock_referral_program --
-- Locks a referral program while it changes.
SELECT version FROM referral_programs WHERE program_id = $1 AND referral_program_id = $2 FOR UPDATE;

-- set_referral_program_version --
-- Makes a version the newest.
UPDATE referral_programs SET version = $3 WHERE program_id = $1 AND referral_program_id = $2;

-- insert_referral_program_version --
-- Writes a version.
INSERT INTO referral_program_versions (
    program_id, referral_program_id, version, definition, created_at, request_id, fingerprint
)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- find_referral_program_request --
-- Finds the version that a request made.
SELECT
    version.referral_program_id, version.version, version.definition, program.created_at,
    version.created_at AS updated_at, version.fingerprint
FROM referral_program_versions AS version
INNER JOIN referral_programs AS program
    ON program.program_id = version.program_id AND program.referral_program_id = version.referral_program_id
WHERE version.program_id = $1 AND version.request_id = $2;

-- get_referral_program --
-- Reads a referral program in a version, the newest one for null.
SELECT
    version.referral_program_id, version.version, version.definition, program.created_at,
    version.created_at AS updated_at
FROM referral_programs AS program
INNER JOIN referral_program_versions AS version
    ON version.program_id = program.program_id AND version.referral_program_id = program.referral_program_id
WHERE program.program_id = $1 AND program.referral_program_id = $2
    AND version.version = coalesce($3::integer, program.version);

-- list_referral_programs --
-- Lists referral programs behind an id, in their newest versions.
SELECT
    version.referral_program_id, version.version, version.definition, program.created_at,
    version.created_at AS updated_at
FROM referral_programs AS program
INNER JOIN referral_program_versions AS version
    ON version.program_id = program.program_id AND version.referral_program_id = program.referral_program_id
        AND version.version = program.version
WHERE program.program_id = $1 AND program.referral_program_id > $2
ORDER BY program.referral_program_id
LIMIT $3;

-- read_referral_program_versions --
-- Reads some versions of some referral programs.
SELECT
    version.referral_program_id, version.version, version.definition, version.created_at,
    version.created_at AS updated_at
FROM referral_program_versions AS version
WHERE version.program_id = $1
    AND (version.referral_program_id, version.version) IN (
        SELECT wanted.referral_program_id, wanted.version
        FROM unnest($2::text[], $3::integer[]) AS wanted (referral_program_id, version)
    );

-- get_link_tag --
-- Reads the tag of a program, across programs.
SELECT tag FROM link_tags WHERE program_id = $1;

-- insert_link_tag --
-- Gives a program its tag where it has none and the tag is free, across programs.
INSERT INTO link_tags (tag, program_id) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- find_tagged_program --
-- Finds the program of a tag, across programs.
SELECT program_id FROM link_tags WHERE tag = $1;

-- insert_code --
-- Makes a code where there is none like it.
INSERT INTO codes (program_id, code_key, code, member_id, referral_program_id, is_vanity, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING
RETURNING code_key;

-- insert_code_request --
-- Writes which code a request was answered with.
INSERT INTO code_requests (program_id, request_id, code_key, fingerprint) VALUES ($1, $2, $3, $4);

-- find_code_request --
-- Finds the code that a request was answered with.
SELECT code_key, fingerprint FROM code_requests WHERE program_id = $1 AND request_id = $2;

-- find_codes --
-- Reads the codes of some keys.
SELECT code_key, code, member_id, referral_program_id, is_vanity, click_count, created_at
FROM codes
WHERE program_id = $1 AND code_key = ANY($2::text[]);

-- find_random_code --
-- Reads the random code of a member in a referral program.
SELECT code_key, code, member_id, referral_program_id, is_vanity, click_count, created_at
FROM codes
WHERE program_id = $1 AND member_id = $2 AND referral_program_id = $3 AND NOT is_vanity;

-- list_codes --
-- Lists the codes of a member behind a key.
SELECT code_key, code, member_id, referral_program_id, is_vanity, click_count, created_at
FROM codes
WHERE program_id = $1 AND member_id = $2 AND code_key > $3
ORDER BY code_key
LIMIT $4;

-- count_codes --
-- Counts the codes of a member.
SELECT count(*) FROM codes WHERE program_id = $1 AND member_id = $2;

-- count_clicks --
-- Adds clicks to some codes, whose rows are locked in their order before.
UPDATE codes
SET click_count = codes.click_count + counted.clicks
FROM unnest($2::text[], $3::bigint[]) AS counted (code_key, clicks)
WHERE codes.program_id = $1 AND codes.code_key = counted.code_key;

-- lock_codes --
-- Locks some codes in their order.
SELECT code_key FROM codes WHERE program_id = $1 AND code_key = ANY($2::text[]) ORDER BY code_key FOR UPDATE;

-- insert_clicks --
-- Writes clicks.
INSERT INTO clicks (program_id, click_id, code_key, clicked_at, ip_hash, subnet_hash, agent_hash)
SELECT $1, click.click_id, click.code_key, click.clicked_at, click.ip_hash, click.subnet_hash, click.agent_hash
FROM
    unnest($2::uuid[], $3::text[], $4::timestamptz[], $5::bytea[], $6::bytea[], $7::bytea[])
        AS click (click_id, code_key, clicked_at, ip_hash, subnet_hash, agent_hash);

-- find_clicks --
-- Reads some clicks.
SELECT click_id, code_key, clicked_at, ip_hash, subnet_hash, agent_hash
FROM clicks
WHERE program_id = $1 AND click_id = ANY($2::uuid[]);

-- forget_clicks --
-- Deletes some clicks before an id.
DELETE FROM clicks
WHERE program_id = $1 AND click_id IN (
    SELECT old.click_id FROM clicks AS old WHERE old.program_id = $1 AND old.click_id < $2 LIMIT $3
)
RETURNING click_id;

-- put_signals --
-- Records what members were seen with; what was seen in the last day already is left as it is.
INSERT INTO signals AS known (program_id, kind, value_hash, member_id, first_seen_at, last_seen_at)
SELECT $1, seen.kind, seen.value_hash, seen.member_id, min(seen.seen_at), max(seen.seen_at)
FROM
    unnest($2::text[], $3::bytea[], $4::text[], $5::timestamptz[])
        AS seen (kind, value_hash, member_id, seen_at)
GROUP BY seen.kind, seen.value_hash, seen.member_id
ORDER BY seen.kind, seen.value_hash, seen.member_id
ON CONFLICT (program_id, kind, value_hash, member_id) DO UPDATE SET
    first_seen_at = least(known.first_seen_at, excluded.first_seen_at),
    last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at)
WHERE excluded.last_seen_at > known.last_seen_at + interval '1 day'
    OR excluded.first_seen_at < known.first_seen_at;

-- find_shared_signals --
-- Lists the kinds and hashes that two members were both seen with.
SELECT one.kind, one.value_hash
FROM signals AS one
INNER JOIN signals AS other
    ON other.program_id = one.program_id AND other.kind = one.kind AND other.value_hash = one.value_hash
WHERE one.program_id = $1 AND one.member_id = $2 AND other.program_id = $1 AND other.member_id = $3;

-- count_members_seen --
-- Counts the most members that were seen with one of some hashes of the kinds since an instant.
SELECT coalesce(max(seen.members), 0)
FROM (
    SELECT count(*) AS members
    FROM signals
    WHERE program_id = $1 AND kind = ANY($2::text[]) AND value_hash = ANY($3::bytea[]) AND last_seen_at >= $4
    GROUP BY kind, value_hash
) AS seen;

-- find_companions --
-- Lists the other referees of a referrer who were seen with something that a referee was seen with.
SELECT DISTINCT referral.referee_id AS member_id, theirs.kind, referral.signed_up_at
FROM signals AS ours
INNER JOIN signals AS theirs
    ON theirs.program_id = ours.program_id AND theirs.kind = ours.kind AND theirs.value_hash = ours.value_hash
INNER JOIN referrals AS referral
    ON referral.program_id = theirs.program_id AND referral.referee_id = theirs.member_id
WHERE ours.program_id = $1 AND theirs.program_id = $1 AND referral.program_id = $1
    AND ours.member_id = $3 AND ours.kind = ANY($4::text[])
    AND referral.referrer_id = $2 AND referral.referee_id <> $3
ORDER BY member_id
LIMIT $5;

-- list_value_hashes --
-- Lists the hashes of some kinds that a member was seen with since an instant.
SELECT kind, value_hash
FROM signals
WHERE program_id = $1 AND member_id = $2 AND kind = ANY($3::text[]) AND last_seen_at >= $4;

-- find_same_persons --
-- Lists the accounts that have a signal of some kinds in common with some members.
SELECT DISTINCT ours.member_id, theirs.member_id AS other_id, theirs.kind
FROM signals AS ours
INNER JOIN signals AS theirs
    ON theirs.program_id = ours.program_id AND theirs.kind = ours.kind AND theirs.value_hash = ours.value_hash
WHERE ours.program_id = $1 AND theirs.program_id = $1 AND ours.member_id = ANY($2::text[])
    AND ours.kind = ANY($3::text[]) AND theirs.member_id <> ours.member_id
ORDER BY ours.member_id, other_id, theirs.kind
LIMIT $4;

-- create_referrers --
-- Makes the rows of referrers that have none.
INSERT INTO referrers (program_id, member_id)
SELECT $1, member.member_id
FROM unnest($2::text[]) AS member (member_id)
ORDER BY member.member_id
ON CONFLICT (program_id, member_id) DO NOTHING;

-- lock_referrers --
-- Locks referrers in the order of their ids.
SELECT member_id
FROM referrers
WHERE program_id = $1 AND member_id = ANY($2::text[])
ORDER BY member_id
FOR UPDATE;

-- insert_referral --
-- Writes a new referral, unless its referee has one.
INSERT INTO referrals (
    program_id, referral_id, referral_program_id, referral_program_version, referrer_id, referee_id, code, clicked_at,
    signed_up_at, expires_at, state, decision, end_reason, score, findings, qualifying_event_id, payment, qualified_at,
    hold_ends_at, depth, created_at, updated_at, version
)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23
)
ON CONFLICT (program_id, referee_id) DO NOTHING
RETURNING referral_id;

-- update_referral --
-- Writes how a referral stands now.
UPDATE referrals
SET
    state = $3, decision = $4, end_reason = $5, score = $6, findings = $7, qualifying_event_id = $8, payment = $9,
    qualified_at = $10, hold_ends_at = $11, depth = $12, updated_at = $13, version = $14
WHERE program_id = $1 AND referral_id = $2;

-- get_referral --
-- Reads a referral.
SELECT
    referral_id, referral_program_id, referral_program_version, referrer_id, referee_id, code, clicked_at, signed_up_at,
    expires_at, created_at, updated_at, state, decision, end_reason, score, findings, qualifying_event_id, payment,
    qualified_at, hold_ends_at, depth, version
FROM referrals
WHERE program_id = $1 AND referral_id = $2;

-- lock_referral --
-- Locks and reads a referral.
SELECT
    referral_id, referral_program_id, referral_program_version, referrer_id, referee_id, code, clicked_at, signed_up_at,
    expires_at, created_at, updated_at, state, decision, end_reason, score, findings, qualifying_event_id, payment,
    qualified_at, hold_ends_at, depth, version
FROM referrals
WHERE program_id = $1 AND referral_id = $2
FOR UPDATE;

-- find_referrals_of_referees --
-- Reads the referrals of some referees.
SELECT
    referral_id, referral_program_id, referral_program_version, referrer_id, referee_id, code, clicked_at, signed_up_at,
    expires_at, created_at, updated_at, state, decision, end_reason, score, findings, qualifying_event_id, payment,
    qualified_at, hold_ends_at, depth, version
FROM referrals
WHERE program_id = $1 AND referee_id = ANY($2::text[]);

-- list_referrals --
-- Lists referrals before an id, newest first, of one state and one decision where these are not null.
SELECT
    referral_id, referral_program_id, referral_program_version, referrer_id, referee_id, code, clicked_at, signed_up_at,
    expires_at, created_at, updated_at, state, decision, end_reason, score, findings, qualifying_event_id, payment,
    qualified_at, hold_ends_at, depth, version
FROM referrals
WHERE program_id = $1 AND referral_id < $2 AND state = coalesce($3, state) AND decision = coalesce($4, decision)
ORDER BY referral_id DESC
LIMIT $5;

-- list_waiting_referrals --
-- Lists referrals before an id that wait for a reviewer, newest first.
SELECT
    referral_id, referral_program_id, referral_program_version, referrer_id, referee_id, code, clicked_at, signed_up_at,
    expires_at, created_at, updated_at, state, decision, end_reason, score, findings, qualifying_event_id, payment,
    qualified_at, hold_ends_at, depth, version
FROM referrals
WHERE program_id = $1 AND referral_id < $2 AND state = 'HELD' AND decision = 'HOLD'
ORDER BY referral_id DESC
LIMIT $3;

-- list_member_referrals --
-- Lists the referrals of a referrer before an id, newest first.
SELECT
    referral_id, referral_program_id, referral_program_version, referrer_id, referee_id, code, clicked_at, signed_up_at,
    expires_at, created_at, updated_at, state, decision, end_reason, score, findings, qualifying_event_id, payment,
    qualified_at, hold_ends_at, depth, version
FROM referrals
WHERE program_id = $1 AND referrer_id = $2 AND referral_id < $3
ORDER BY referral_id DESC
LIMIT $4;

-- count_qualified --
-- Counts the referrals of a referrer that qualified in a period and count towards its caps.
SELECT count(*)
FROM referrals
WHERE program_id = $1 AND referrer_id = $2 AND referral_program_id = $3 AND state IN ('QUALIFIED', 'HELD', 'REWARDED')
    AND ($4::timestamptz IS NULL OR qualified_at >= $4) AND ($5::timestamptz IS NULL OR qualified_at < $5);

-- list_sign_ups --
-- Lists when the referees of a referrer signed up in a period, newest first.
SELECT signed_up_at
FROM referrals
WHERE program_id = $1 AND referrer_id = $2 AND signed_up_at > $3 AND signed_up_at <= $4
ORDER BY signed_up_at DESC
LIMIT $5;

-- find_referrers --
-- Tells who referred some members.
SELECT referee_id, referrer_id FROM referrals WHERE program_id = $1 AND referee_id = ANY($2::text[]);

-- list_pending_of_members --
-- Lists the referrals of some referees whose reward is pending.
SELECT referral_id
FROM referrals
WHERE program_id = $1 AND referee_id = ANY($2::text[]) AND state IN ('QUALIFIED', 'HELD');

-- insert_assessment --
-- Writes what the fraud checks found.
INSERT INTO assessments (program_id, referral_id, version, decision, score, findings, assessed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- insert_review --
-- Writes what a person decided.
INSERT INTO reviews (
    program_id, referral_id, is_approved, reason, actor, subject, reviewed_at, request_id, fingerprint
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- find_reviews --
-- Reads what people decided about some referrals.
SELECT referral_id, is_approved, reason, actor, subject, reviewed_at
FROM reviews
WHERE program_id = $1 AND referral_id = ANY($2::uuid[]);

-- find_review_request --
-- Finds the review that a request made.
SELECT referral_id, fingerprint FROM reviews WHERE program_id = $1 AND request_id = $2;

-- count_rows --
-- Counts what is checked, across programs.
SELECT
    (SELECT count(*) FROM referrals) AS referrals,
    (SELECT count(*) FROM codes) AS codes,
    (SELECT count(*) FROM assessments) AS assessments;

-- check_due_work --
-- Finds referrals under way that nothing will move on, across programs.
SELECT referral.program_id, referral.referral_id, referral.state
FROM referrals AS referral
WHERE NOT EXISTS (
    SELECT FROM due_work AS work
    WHERE work.program_id = referral.program_id AND work.payload ->> 'referral_id' = referral.referral_id::text
)
AND (
    referral.state = 'SIGNED_UP'
    OR referral.state IN ('QUALIFIED', 'HELD') AND referral.decision IN ('PENDING', 'ALLOW')
);

-- check_decisions --
-- Finds referrals whose decision is neither the last assessment's nor the reviewer's, across programs.
SELECT referral.program_id, referral.referral_id, referral.decision, last.decision AS assessed
FROM referrals AS referral
LEFT JOIN LATERAL (
    SELECT assessment.decision
    FROM assessments AS assessment
    WHERE assessment.program_id = referral.program_id AND assessment.referral_id = referral.referral_id
    ORDER BY assessment.version DESC
    LIMIT 1
) AS last ON true
LEFT JOIN reviews AS review
    ON review.program_id = referral.program_id AND review.referral_id = referral.referral_id
WHERE referral.decision <> CASE
    WHEN review.is_approved THEN 'ALLOW'
    WHEN NOT review.is_approved THEN 'REJECT'
    ELSE coalesce(last.decision, 'PENDING')
END;

-- check_codes --
-- Finds referrals that came by a code which their referrer has not, across programs.
SELECT referral.program_id, referral.referral_id, referral.code
FROM referrals AS referral
WHERE NOT EXISTS (
    SELECT FROM codes
    WHERE codes.program_id = referral.program_id AND codes.code = referral.code
        AND codes.member_id = referral.referrer_id
);

-- count_states --
-- Counts referrals by state, across programs.
SELECT state, count(*) AS count FROM referrals GROUP BY state ORDER BY state;
