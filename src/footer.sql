-- PUBLIC gets no privileges.
REVOKE ALL ON ALL ROUTINES IN SCHEMA pictrepo FROM PUBLIC;
REVOKE ALL ON TYPE pictrepo.job_status, pictrepo.hash_page, pictrepo.ingested FROM PUBLIC;

-- These tables hold data of users.  pg_dump must dump the rows.  It leaves out what
-- the server keeps for itself: restore_hold and row_counts.
SELECT pg_catalog.pg_extension_config_dump('pictrepo.hashes', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.variants', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.variant_claims', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.aliases', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.proxies', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.details', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.settings', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.store_migrations', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.uploads', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.queues', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.job_queue', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.dead_jobs', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.schedules', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.blocked', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.samples', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.queue_samples', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.transfers', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.transfer_errors', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.prepared_notifications', '');
