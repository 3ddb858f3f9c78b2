-- The rights that the processes need on a ledger, by role. Run it as the ledger's owner (who migrated it), then
-- grant a role to each user: GRANT cleanup_producer TO ci;  GRANT cleanup_worker TO cleaner;
-- No role can change or remove an event; triggers refuse it even to the owner.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['cleanup_reader', 'cleanup_producer', 'cleanup_worker'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;  -- made for another ledger of this server
        END;
    END LOOP;
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, cleanup_reader, cleanup_producer, cleanup_worker;

-- reports and audits
GRANT SELECT ON ALL TABLES IN SCHEMA public TO cleanup_reader, cleanup_producer, cleanup_worker;

-- tests: append events, and say that they live
GRANT INSERT ON events TO cleanup_producer, cleanup_worker;
GRANT INSERT, UPDATE, DELETE ON heartbeats TO cleanup_producer, cleanup_worker;

-- workers: claims, shared rate limits, the folded state, the archive of logs
GRANT INSERT, UPDATE ON claims, timeshares TO cleanup_worker;
GRANT INSERT, UPDATE, DELETE, TRUNCATE ON runs, scopes, resources TO cleanup_worker;
GRANT UPDATE ON fold TO cleanup_worker;
GRANT INSERT, UPDATE ON archive TO cleanup_worker;
