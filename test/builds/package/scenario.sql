-- The way of a picture, by a role that may write and nothing else.
\set VERBOSITY verbose
SET ROLE host;

DO $$
DECLARE
	sha256 constant bytea := sha256('picture');
	picture constant bytea := pictrepo.make_hash(sha256, 7, 'png');
	upload uuid := pictrepo.create_upload();
	pushed uuid := pictrepo.push('process', '{"Ingest": "new/file"}', upload => upload);
	popped record;
	served record;
BEGIN
	SELECT * INTO STRICT popped FROM pictrepo.pop('process');
	ASSERT popped.id = pushed AND popped.attempt = 1, 'pop: ' || popped;
	ASSERT pictrepo.heartbeat('process', NULL, popped.id), 'heartbeat';
	ASSERT (pictrepo.finish_ingest('process', NULL, popped.id, upload, picture, 'new/file',
		'{"width": 1}', 'new.png', 'token')).outcome = 'created', 'finish_ingest';
	ASSERT pictrepo.queue_length('process') = 0, 'queue_length';

	SELECT * INTO STRICT served FROM pictrepo.serve('new.png', touch => true);
	ASSERT served.hash = picture AND served.identifier = 'new/file', 'serve: ' || served;
	ASSERT pictrepo.delete_alias('new.png', 'guess') = 'forbidden', 'delete_alias, another token';
	ASSERT pictrepo.delete_alias('new.png', 'token') = 'deleted', 'delete_alias';
	ASSERT NOT EXISTS (SELECT FROM pictrepo.serve('new.png')), 'serve what is deleted';
	ASSERT EXISTS (SELECT FROM pictrepo.pop('cleanup')
		WHERE job = '{"Identifier": {"identifier": "new/file"}}'), 'cleanup';

	ASSERT (pictrepo.ingest('\x01', 'kept/file', '{}', 'kept.png', 'token')).outcome = 'created', 'ingest';
	ASSERT (SELECT count(*) > 5 AND count(advice) = 0 FROM pictrepo.status()),
		'status: ' || (SELECT string_agg(item || ': ' || advice, '; ') FROM pictrepo.status());
END
$$;
