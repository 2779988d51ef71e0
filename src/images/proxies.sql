-- ProxyRepo: URLs of other hosts whose content is stored here under an alias.

CREATE TABLE pictrepo.proxies (
	digest bytea PRIMARY KEY,
	url text COLLATE "C" NOT NULL CHECK (octet_length(url) BETWEEN 1 AND 65536),
	alias text COLLATE "C" NOT NULL REFERENCES pictrepo.aliases ON DELETE CASCADE,
	accessed timestamptz DEFAULT now() CHECK (isfinite(accessed)),
	CHECK (digest = pictrepo.url_digest(url))
);
CREATE INDEX proxies_alias_index ON pictrepo.proxies (alias, accessed);
CREATE INDEX proxies_accessed_index ON pictrepo.proxies (accessed, alias);

COMMENT ON TABLE pictrepo.proxies IS 'URLs of other hosts whose content is stored here';
COMMENT ON COLUMN pictrepo.proxies.digest IS
	'SHA-256 of the URL. It is the key because a URL can be too long for an index';
COMMENT ON COLUMN pictrepo.proxies.url IS 'URL of the content on the other host';
COMMENT ON COLUMN pictrepo.proxies.alias IS 'alias under which the content is served here';
COMMENT ON COLUMN pictrepo.proxies.accessed IS
	'time when the alias was last served; NULL if its access time was removed. '
	'If an alias has several URLs, the latest time counts';
COMMENT ON INDEX pictrepo.proxies_alias_index IS 'finds the URLs of an alias and its latest access';
COMMENT ON INDEX pictrepo.proxies_accessed_index IS 'finds the aliases of proxied URLs by access time';

CREATE FUNCTION pictrepo.relate_url(url text, alias text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_relate_url';
COMMENT ON FUNCTION pictrepo.relate_url(text, text) IS
	'record that an alias stands for a URL and was accessed now. '
	'Returns false if the URL has an alias; it then keeps that alias. url: 1 byte to 64 KiB. '
	'Error 23503: the alias does not exist';

CREATE FUNCTION pictrepo.related(url text) RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_related';
COMMENT ON FUNCTION pictrepo.related(text) IS 'alias of a URL; NULL if none';

CREATE FUNCTION pictrepo.remove_relation(alias text) RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_remove_relation';
COMMENT ON FUNCTION pictrepo.remove_relation(text) IS
	'remove every URL of an alias. Returns the number of removed URLs. The access time of the alias stays';
