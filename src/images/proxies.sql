-- ProxyRepo: urls of other hosts whose content is kept here under an alias.

CREATE TABLE pictrepo.proxies (
	digest bytea PRIMARY KEY,
	url text COLLATE "C" NOT NULL CHECK (octet_length(url) BETWEEN 1 AND 65536),
	alias text COLLATE "C" NOT NULL REFERENCES pictrepo.aliases ON DELETE CASCADE,
	accessed timestamptz DEFAULT now() CHECK (isfinite(accessed)),
	CHECK (digest = pictrepo.url_digest(url))
);
CREATE INDEX proxies_alias_index ON pictrepo.proxies (alias, accessed);
CREATE INDEX proxies_accessed_index ON pictrepo.proxies (accessed, alias);

COMMENT ON TABLE pictrepo.proxies IS 'urls of other hosts whose content is kept here';
COMMENT ON COLUMN pictrepo.proxies.digest IS 'SHA-256 of the url: a url may be longer than an index key';
COMMENT ON COLUMN pictrepo.proxies.url IS 'where the content came from';
COMMENT ON COLUMN pictrepo.proxies.alias IS 'the alias that stands for the url';
COMMENT ON COLUMN pictrepo.proxies.accessed IS
	'when the alias was last served; of several urls of an alias the latest counts; NULL when its access time was removed';
COMMENT ON INDEX pictrepo.proxies_alias_index IS 'the urls of an alias, and its latest access';
COMMENT ON INDEX pictrepo.proxies_accessed_index IS 'proxied aliases by age of their last access';

CREATE FUNCTION pictrepo.relate_url(url text, alias text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_relate_url';
COMMENT ON FUNCTION pictrepo.relate_url(text, text) IS
	'store that an alias stands for a url; false: the url has an alias and keeps it. '
	'It counts as its first access. A url has at most 64 KiB. Error 23503: no such alias';

CREATE FUNCTION pictrepo.related(url text) RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_related';
COMMENT ON FUNCTION pictrepo.related(text) IS 'the alias of a url; NULL: none';

CREATE FUNCTION pictrepo.remove_relation(alias text) RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_remove_relation';
COMMENT ON FUNCTION pictrepo.remove_relation(text) IS
	'remove every url of an alias; how many there were';
