-- AliasAccessRepo and VariantAccessRepo: when things were last served.

CREATE FUNCTION pictrepo.accessed_alias(alias text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_accessed_alias';
COMMENT ON FUNCTION pictrepo.accessed_alias(text) IS
	'an alias was served now; false: no such alias. '
	'Nothing is written within pictrepo.access_resolution of the last time, or where somebody else is at the row';

CREATE FUNCTION pictrepo.set_accessed_alias(alias text, at timestamptz) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_set_accessed_alias';
COMMENT ON FUNCTION pictrepo.set_accessed_alias(text, timestamptz) IS
	'set when an alias was served, exactly; false: no such alias. at: any finite time';

CREATE FUNCTION pictrepo.alias_accessed_at(alias text) RETURNS timestamptz
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_alias_accessed_at';
COMMENT ON FUNCTION pictrepo.alias_accessed_at(text) IS
	'when an alias was last served; NULL: never, or no such alias';

CREATE FUNCTION pictrepo.older_aliases(before timestamptz, max bigint = NULL,
	OUT alias text, OUT accessed timestamptz) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 1000 AS 'MODULE_PATHNAME', 'pictrepo_older_aliases';
COMMENT ON FUNCTION pictrepo.older_aliases(timestamptz, bigint) IS
	'aliases of proxied urls last served before a time, oldest first. '
	'max: so many at most, NULL: all of them. What users uploaded is never among them';

CREATE FUNCTION pictrepo.remove_alias_access(alias text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_remove_alias_access';
COMMENT ON FUNCTION pictrepo.remove_alias_access(text) IS
	'forget when an alias was served; false: it was not known';

CREATE FUNCTION pictrepo.accessed_variant(hash bytea, variant text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_accessed_variant';
COMMENT ON FUNCTION pictrepo.accessed_variant(bytea, text) IS
	'a variant was served now; false: no such variant. '
	'Nothing is written within pictrepo.access_resolution of the last time, or where somebody else is at the row';

CREATE FUNCTION pictrepo.set_accessed_variant(hash bytea, variant text, at timestamptz) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_set_accessed_variant';
COMMENT ON FUNCTION pictrepo.set_accessed_variant(bytea, text, timestamptz) IS
	'set when a variant was served, exactly; false: no such variant. at: any finite time';

CREATE FUNCTION pictrepo.variant_accessed_at(hash bytea, variant text) RETURNS timestamptz
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_variant_accessed_at';
COMMENT ON FUNCTION pictrepo.variant_accessed_at(bytea, text) IS
	'when a variant was last served; NULL: not known, or no such variant';

CREATE FUNCTION pictrepo.older_variants(before timestamptz, max bigint = NULL,
	OUT hash bytea, OUT variant text, OUT accessed timestamptz) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 1000 AS 'MODULE_PATHNAME', 'pictrepo_older_variants';
COMMENT ON FUNCTION pictrepo.older_variants(timestamptz, bigint) IS
	'variants last served before a time, oldest first. max: so many at most, NULL: all of them';

CREATE FUNCTION pictrepo.remove_variant_access(hash bytea, variant text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_remove_variant_access';
COMMENT ON FUNCTION pictrepo.remove_variant_access(bytea, text) IS
	'forget when a variant was served; false: it was not known';
