-- AliasAccessRepo and VariantAccessRepo: when aliases and variants were last served.

CREATE FUNCTION pictrepo.accessed_alias(alias text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_accessed_alias';
COMMENT ON FUNCTION pictrepo.accessed_alias(text) IS
	'record that an alias was served now. Returns false if the alias does not exist. '
	'Writes nothing if the recorded access is younger than pictrepo.access_resolution, or if another '
	'transaction locks the row';

CREATE FUNCTION pictrepo.set_accessed_alias(alias text, at timestamptz) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_set_accessed_alias';
COMMENT ON FUNCTION pictrepo.set_accessed_alias(text, timestamptz) IS
	'set the access time of an alias. Returns false if the alias does not exist. '
	'at: any finite time, stored exactly';

CREATE FUNCTION pictrepo.alias_accessed_at(alias text) RETURNS timestamptz
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_alias_accessed_at';
COMMENT ON FUNCTION pictrepo.alias_accessed_at(text) IS
	'time when an alias was last served; NULL if no access is recorded or the alias does not exist';

CREATE FUNCTION pictrepo.older_aliases(before timestamptz, max bigint = NULL,
	OUT alias text, OUT accessed timestamptz) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 1000 AS 'MODULE_PATHNAME', 'pictrepo_older_aliases';
COMMENT ON FUNCTION pictrepo.older_aliases(timestamptz, bigint) IS
	'aliases of proxied URLs that were last served before a time, oldest first. '
	'max: most rows to return; NULL: no limit. Uploads of users have no URL and are never returned';

CREATE FUNCTION pictrepo.remove_alias_access(alias text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_remove_alias_access';
COMMENT ON FUNCTION pictrepo.remove_alias_access(text) IS
	'remove the access time of an alias. Returns false if none was recorded';

CREATE FUNCTION pictrepo.accessed_variant(hash bytea, variant text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_accessed_variant';
COMMENT ON FUNCTION pictrepo.accessed_variant(bytea, text) IS
	'record that a variant was served now. Returns false if the variant does not exist. '
	'Writes nothing if the recorded access is younger than pictrepo.access_resolution, or if another '
	'transaction locks the row';

CREATE FUNCTION pictrepo.set_accessed_variant(hash bytea, variant text, at timestamptz) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_set_accessed_variant';
COMMENT ON FUNCTION pictrepo.set_accessed_variant(bytea, text, timestamptz) IS
	'set the access time of a variant. Returns false if the variant does not exist. '
	'at: any finite time, stored exactly';

CREATE FUNCTION pictrepo.variant_accessed_at(hash bytea, variant text) RETURNS timestamptz
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_variant_accessed_at';
COMMENT ON FUNCTION pictrepo.variant_accessed_at(bytea, text) IS
	'time when a variant was last served; NULL if no access is recorded or the variant does not exist';

CREATE FUNCTION pictrepo.older_variants(before timestamptz, max bigint = NULL,
	OUT hash bytea, OUT variant text, OUT accessed timestamptz) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 1000 AS 'MODULE_PATHNAME', 'pictrepo_older_variants';
COMMENT ON FUNCTION pictrepo.older_variants(timestamptz, bigint) IS
	'variants that were last served before a time, oldest first. max: most rows to return; NULL: no limit';

CREATE FUNCTION pictrepo.remove_variant_access(hash bytea, variant text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_remove_variant_access';
COMMENT ON FUNCTION pictrepo.remove_variant_access(bytea, text) IS
	'remove the access time of a variant. Returns false if none was recorded';
