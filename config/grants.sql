-- A role that may read the five stable views and nothing else: for reports, dashboards, people who ask.
-- PostgreSQL only. Run it as the owner of textback's tables (or a superuser), after `textback migrate`, with psql:
--
--   psql "$TEXTBACK_DATABASE_URL" -v ON_ERROR_STOP=1 -f config/grants.sql
--
-- It may be run again at any time. The role cannot log in; give it to people, or let it log in:
--
--   GRANT textback_readers TO alice;
--   ALTER ROLE textback_readers LOGIN PASSWORD '…';
--
-- The views show phone numbers and texts: whom you give this role sees personal data. A view reads its tables with the
-- rights of the view's owner, so no right on a table is needed, and none is given. A migration keeps these grants.
-- Take it back:  DROP OWNED BY textback_readers; DROP ROLE textback_readers;

BEGIN;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'textback_readers') THEN
        CREATE ROLE textback_readers NOLOGIN;
    END IF;
    -- whatever it was given before
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM textback_readers', current_schema());
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO textback_readers', current_schema());
END
$$;

GRANT SELECT ON current_consent, consent_history, delivery, inbound, daily_report TO textback_readers;

-- a report that somebody forgets must not hold the database
ALTER ROLE textback_readers SET default_transaction_read_only = on;
ALTER ROLE textback_readers SET statement_timeout = '60s';
ALTER ROLE textback_readers SET idle_in_transaction_session_timeout = '60s';

COMMIT;
