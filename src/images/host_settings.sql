-- SettingsRepo: values that the image host stores for itself.

CREATE TABLE pictrepo.settings (
	key text COLLATE "C" PRIMARY KEY CHECK (octet_length(key) BETWEEN 1 AND 80),
	value bytea NOT NULL CHECK (octet_length(value) <= 65536)
);
COMMENT ON TABLE pictrepo.settings IS
	'values that the image host stores for itself, for example the state of its path generator';
COMMENT ON COLUMN pictrepo.settings.key IS 'name of the value, 1 to 80 bytes';
COMMENT ON COLUMN pictrepo.settings.value IS 'any bytes, at most 64 KiB';

CREATE FUNCTION pictrepo.set(key text, value bytea) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_set';
COMMENT ON FUNCTION pictrepo.set(text, bytea) IS
	'store a value under a key and replace an earlier one. key: 1 to 80 bytes. value: at most 64 KiB';

CREATE FUNCTION pictrepo.get(key text) RETURNS bytea
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_get';
COMMENT ON FUNCTION pictrepo.get(text) IS 'value under a key; NULL if none';

CREATE FUNCTION pictrepo.remove(key text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_remove';
COMMENT ON FUNCTION pictrepo.remove(text) IS
	'remove a key with its value. Returns false if the key does not exist';
