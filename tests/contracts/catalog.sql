-- Describes a database's schema "public" as lines that can be compared: whatever two schemas may differ in but the
-- order of columns, which no query relies on.
WITH relation AS (
    SELECT oid, relname, relkind, relpersistence, reloptions, relacl, relowner, relrowsecurity
    FROM pg_class
    WHERE relnamespace = 'public'::regnamespace
), line AS (
    SELECT format(
        'relation %s: kind %s, persistence %s, options %s, owner %s, partitions %s, policies %s, comment %s',
        relname, relkind, relpersistence, reloptions, pg_get_userbyid(relowner),
        CASE WHEN relkind = 'p' THEN pg_get_partkeydef(oid) END, relrowsecurity, obj_description(oid, 'pg_class')
    ) AS text
    FROM relation
    UNION ALL
    SELECT format(
        'column %s.%s: %s, not null %s, default %s, identity %s, generated %s, collation %s, grants %s, comment %s',
        relation.relname, attribute.attname, format_type(attribute.atttypid, attribute.atttypmod),
        attribute.attnotnull, pg_get_expr(value.adbin, value.adrelid), attribute.attidentity, attribute.attgenerated,
        attribute.attcollation, attribute.attacl, col_description(relation.oid, attribute.attnum)
    )
    FROM relation
    INNER JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid
    LEFT JOIN pg_attrdef AS value ON value.adrelid = relation.oid AND value.adnum = attribute.attnum
    WHERE relation.relkind IN ('r', 'p', 'v', 'm') AND attribute.attnum > 0 AND NOT attribute.attisdropped
    UNION ALL
    SELECT format(
        'constraint %s.%s: %s, valid %s, enforced %s, comment %s',
        relation.relname, condition.conname, pg_get_constraintdef(condition.oid), condition.convalidated,
        condition.conenforced, obj_description(condition.oid, 'pg_constraint')
    )
    FROM relation INNER JOIN pg_constraint AS condition ON condition.conrelid = relation.oid
    UNION ALL
    SELECT format('index %s: %s, valid %s', relation.relname, pg_get_indexdef(key.indexrelid), key.indisvalid)
    FROM relation INNER JOIN pg_index AS key ON key.indexrelid = relation.oid
    UNION ALL
    SELECT format(
        'grant %s: %s to %s, grantable %s',
        relation.relname, privilege.privilege_type, pg_get_userbyid(privilege.grantee), privilege.is_grantable
    )
    FROM relation CROSS JOIN aclexplode(relation.relacl) AS privilege
    UNION ALL
    SELECT format('trigger %s.%s: %s', relation.relname, trigger.tgname, pg_get_triggerdef(trigger.oid))
    FROM relation INNER JOIN pg_trigger AS trigger ON trigger.tgrelid = relation.oid
    WHERE NOT trigger.tgisinternal
    UNION ALL
    SELECT format('function %s: %s', routine.oid::regprocedure, md5(pg_get_functiondef(routine.oid)))
    FROM pg_proc AS routine
    WHERE routine.pronamespace = 'public'::regnamespace AND routine.prokind IN ('f', 'p')
    UNION ALL
    SELECT format('type %s: %s', typname, typtype)
    FROM pg_type
    WHERE typnamespace = 'public'::regnamespace AND typtype IN ('d', 'e', 'r')
    UNION ALL
    SELECT format('extension %s', extname) FROM pg_extension WHERE extname <> 'plpgsql'
)
SELECT text FROM line ORDER BY text;
