-- UploadRepo: uploads that are processed in the background.

CREATE TABLE pictrepo.uploads (
	id uuid PRIMARY KEY,
	result jsonb,
	created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX uploads_created_index ON pictrepo.uploads (created_at);

COMMENT ON TABLE pictrepo.uploads IS 'uploads that are processed in the background, until they are claimed';
COMMENT ON COLUMN pictrepo.uploads.id IS 'UUID version 7';
COMMENT ON COLUMN pictrepo.uploads.result IS 'what came of it; NULL: not done yet';
COMMENT ON COLUMN pictrepo.uploads.created_at IS 'when it was begun; pictrepo.upload_ttl later it goes';
COMMENT ON INDEX pictrepo.uploads_created_index IS 'uploads that nobody claimed in time';

CREATE FUNCTION pictrepo.upload_changed() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_upload_changed';
COMMENT ON FUNCTION pictrepo.upload_changed() IS
	'trigger: an upload got its result or is gone; tells waiters and upload_completion_channel';
CREATE TRIGGER upload_result AFTER INSERT OR UPDATE OF result ON pictrepo.uploads
	FOR EACH ROW WHEN (NEW.result IS NOT NULL)
	EXECUTE FUNCTION pictrepo.upload_changed();
CREATE TRIGGER upload_gone AFTER DELETE ON pictrepo.uploads
	FOR EACH ROW EXECUTE FUNCTION pictrepo.upload_changed();
ALTER TABLE pictrepo.uploads ENABLE ALWAYS TRIGGER upload_result, ENABLE ALWAYS TRIGGER upload_gone;
COMMENT ON TRIGGER upload_result ON pictrepo.uploads IS 'wakes who waits for the result';
COMMENT ON TRIGGER upload_gone ON pictrepo.uploads IS 'wakes who waits in vain';

CREATE FUNCTION pictrepo.create_upload() RETURNS uuid
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_create_upload';
COMMENT ON FUNCTION pictrepo.create_upload() IS 'begin an upload; its id';

CREATE FUNCTION pictrepo.wait(upload uuid, timeout interval) RETURNS jsonb
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_wait';
COMMENT ON FUNCTION pictrepo.wait(uuid, interval) IS
	'wait for the result of an upload, which stays; NULL: the time is up. '
	'timeout: any interval from 0 on, not NULL. Error P0002: no such upload, or claimed';

CREATE FUNCTION pictrepo.claim(upload uuid) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_claim';
COMMENT ON FUNCTION pictrepo.claim(uuid) IS
	'end an upload and remove it; true for exactly one caller';

CREATE FUNCTION pictrepo.complete_upload(upload uuid, result jsonb) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_complete_upload';
COMMENT ON FUNCTION pictrepo.complete_upload(uuid, jsonb) IS
	'store the result of an upload and wake who waits; false: no such upload, or claimed. '
	'result: any JSON but null; pict-rs''s Success and Failure must have their members';
