-- UploadRepo: uploads that are processed in the background.

CREATE TABLE pictrepo.uploads (
	id uuid PRIMARY KEY,
	result jsonb,
	created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX uploads_created_index ON pictrepo.uploads (created_at);

COMMENT ON TABLE pictrepo.uploads IS 'uploads that are processed in the background and not claimed yet';
COMMENT ON COLUMN pictrepo.uploads.id IS 'UUID version 7';
COMMENT ON COLUMN pictrepo.uploads.result IS 'result of the upload; NULL if the upload has not ended';
COMMENT ON COLUMN pictrepo.uploads.created_at IS
	'time when the upload was created. Unless it is claimed, it is removed pictrepo.upload_ttl later';
COMMENT ON INDEX pictrepo.uploads_created_index IS 'finds uploads that were not claimed in time';

CREATE FUNCTION pictrepo.upload_changed() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_upload_changed';
COMMENT ON FUNCTION pictrepo.upload_changed() IS
	'trigger function of uploads: wakes the sessions that wait for an upload when it gets its result or is '
	'removed. When it gets its result, the function also notifies upload_completion_channel';
CREATE TRIGGER upload_result AFTER INSERT OR UPDATE OF result ON pictrepo.uploads
	FOR EACH ROW WHEN (NEW.result IS NOT NULL)
	EXECUTE FUNCTION pictrepo.upload_changed();
CREATE TRIGGER upload_gone AFTER DELETE ON pictrepo.uploads
	FOR EACH ROW EXECUTE FUNCTION pictrepo.upload_changed();
ALTER TABLE pictrepo.uploads ENABLE ALWAYS TRIGGER upload_result, ENABLE ALWAYS TRIGGER upload_gone;
COMMENT ON TRIGGER upload_result ON pictrepo.uploads IS 'wakes the sessions that wait for the result';
COMMENT ON TRIGGER upload_gone ON pictrepo.uploads IS 'wakes the sessions that wait for a removed upload';

CREATE FUNCTION pictrepo.create_upload() RETURNS uuid
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_create_upload';
COMMENT ON FUNCTION pictrepo.create_upload() IS 'create an upload. Returns its ID';

CREATE FUNCTION pictrepo.wait(upload uuid, timeout interval) RETURNS jsonb
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_wait';
COMMENT ON FUNCTION pictrepo.wait(uuid, interval) IS
	'wait for the result of an upload. Returns NULL if the timeout passes first. '
	'The upload stays until it is claimed. timeout: an interval of 0 or more, not NULL. '
	'Error P0002: the upload does not exist, was claimed or has expired';

CREATE FUNCTION pictrepo.claim(upload uuid) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_claim';
COMMENT ON FUNCTION pictrepo.claim(uuid) IS
	'remove an upload. Returns true to exactly one caller, and false if the upload does not exist';

CREATE FUNCTION pictrepo.complete_upload(upload uuid, result jsonb) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_complete_upload';
COMMENT ON FUNCTION pictrepo.complete_upload(uuid, jsonb) IS
	'store the result of an upload and wake the sessions that wait for it. '
	'Returns false if the upload does not exist or was claimed. '
	'result: any JSON value except null; pict-rs''s Success and Failure must have their members';
