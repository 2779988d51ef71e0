-- A repo with something in it, and a role that may do all in it and little else:
-- it is what the extension is that is looked for, not what the server is.
CREATE EXTENSION pictrepo;

SELECT count(pictrepo.ingest(sha256(int4send(n)), 'file ' || n, '{"width": 1}', 'alias ' || n, 'token'))
FROM generate_series(1, 50) n;
SELECT count(pictrepo.relate_variant_identifier(sha256(int4send(n)), 'thumb', 'thumb ' || n))
FROM generate_series(1, 50) n;
SELECT count(pictrepo.relate_url('https://example.org/' || n, 'alias ' || n)) FROM generate_series(1, 50) n;
SELECT count(pictrepo.push_many('q', ARRAY['1', '"x"', 'null', '[]', '{"a": {}}']::jsonb[])) FROM generate_series(1, 20);
SELECT count(*) FROM pictrepo.pop('q', max_jobs => 20);
SELECT count(pictrepo.create_upload()) FROM generate_series(1, 20);
SELECT pictrepo.set('key', 'value');

CREATE ROLE smith LOGIN;
SELECT pictrepo.grant_access('smith', 'admin');
GRANT ALL ON ALL TABLES IN SCHEMA pictrepo TO smith;
