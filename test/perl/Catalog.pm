
=pod

=head1 NAME

Catalog - all that the catalogs say of the extension, to be compared

=cut

package Catalog;

use strict;
use warnings;
use Exporter 'import';

our @EXPORT = qw(catalog_query catalog_of);

# Objects that the extension has, or that belong to one that it has, each with
# its name as everybody sees it.
my $OBJECTS = q{
members AS (
	SELECT d.classid, d.objid FROM pg_depend d
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
	WHERE e.extname = 'pictrepo' AND d.deptype = 'e'),
in_schema AS (
	SELECT 'pg_class'::regclass AS classid, oid AS objid FROM pg_class WHERE relnamespace = 'pictrepo'::regnamespace
	UNION SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = 'pictrepo'::regnamespace
	UNION SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace = 'pictrepo'::regnamespace
	UNION SELECT 'pg_namespace'::regclass, oid FROM pg_namespace WHERE nspname = 'pictrepo'),
objects AS (
	SELECT classid, objid, pg_describe_object(classid, objid, 0) AS name
	FROM (TABLE members UNION TABLE in_schema) o),
tables AS (
	SELECT c.*, o.name FROM objects o JOIN pg_class c ON o.classid = 'pg_class'::regclass AND c.oid = o.objid)};

# What is said of them: where, name, and the rest.
my @FACTS = (
	q{SELECT 'extension', extname, concat_ws(' ', extversion, extnamespace::regnamespace, extrelocatable, extowner::regrole)
		FROM pg_extension WHERE extname = 'pictrepo'},

	# in any order
	q{SELECT 'config', config.relation::regclass::text, config.condition FROM pg_extension,
		unnest(extconfig, extcondition) AS config (relation, condition) WHERE extname = 'pictrepo'},
	q{SELECT 'object', name, (SELECT count(*) FROM members m WHERE m.objid = o.objid AND m.classid = o.classid)
		|| ' member' FROM objects o},
	q{SELECT 'comment', o.name || coalesce(' column ' || a.attname, ''), d.description
		FROM objects o JOIN pg_description d ON d.classoid = o.classid AND d.objoid = o.objid
		LEFT JOIN pg_attribute a ON o.classid = 'pg_class'::regclass AND a.attrelid = o.objid AND a.attnum = d.objsubid
			AND a.attnum > 0
		UNION ALL SELECT 'comment', 'constraint ' || o.name || ' ' || c.conname, obj_description(c.oid, 'pg_constraint')
		FROM objects o JOIN pg_constraint c ON o.classid = 'pg_class'::regclass AND c.conrelid = o.objid
		UNION ALL SELECT 'comment', 'trigger ' || o.name || ' ' || t.tgname, obj_description(t.oid, 'pg_trigger')
		FROM objects o JOIN pg_trigger t ON o.classid = 'pg_class'::regclass AND t.tgrelid = o.objid AND NOT tgisinternal
		UNION ALL SELECT 'comment', 'extension', obj_description(oid, 'pg_extension') FROM pg_extension
		WHERE extname = 'pictrepo'},
	q{SELECT 'function', name, pg_get_functiondef(p.oid) || concat_ws(' ', proowner::regrole, prokind, prosecdef,
		proleakproof, procost, prorows, prosupport, probin)
		FROM objects o JOIN pg_proc p ON o.classid = 'pg_proc'::regclass AND p.oid = o.objid WHERE prokind <> 'a'},
	q{SELECT 'relation', name, concat_ws(' ', relkind, relowner::regrole, relpersistence, relrowsecurity, relforcerowsecurity,
		relreplident, reloftype, relispartition, reloptions,
		(SELECT t.reloptions FROM pg_class t WHERE t.oid = c.reltoastrelid),
		(SELECT amname FROM pg_am WHERE pg_am.oid = relam), (SELECT spcname FROM pg_tablespace s WHERE s.oid = reltablespace))
		FROM tables c},
	q{SELECT 'column', c.name || ' ' || attname, concat_ws(' ',
		row_number() OVER (PARTITION BY c.oid ORDER BY attnum), format_type(atttypid, atttypmod), attnotnull,
		attidentity, attgenerated, (SELECT collname FROM pg_collation l WHERE l.oid = attcollation), attstorage,
		attcompression, coalesce(attstattarget, -1),
		(SELECT array_agg(option) FROM unnest(attoptions) option WHERE option !~ '^pg_attver='), attacl, pg_get_expr(adbin, adrelid))
		FROM tables c JOIN pg_attribute a ON attrelid = c.oid
		LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum
		WHERE attnum > 0 AND NOT attisdropped},
	q{SELECT 'constraint', concat_ws(' ', coalesce(c.name, t.typname), conname), concat_ws(' ', pg_get_constraintdef(k.oid),
		convalidated, condeferrable, condeferred, conislocal, connoinherit, conindid::regclass)
		FROM pg_constraint k LEFT JOIN tables c ON c.oid = conrelid LEFT JOIN pg_type t ON t.oid = contypid
		WHERE k.connamespace = 'pictrepo'::regnamespace},
	q{SELECT 'index', indexrelid::regclass::text, concat_ws(' ', pg_get_indexdef(indexrelid), indisunique, indisprimary,
		indisclustered, indisreplident, indisvalid, indimmediate)
		FROM tables c JOIN pg_index ON indrelid = c.oid},

	# an internal one, of a foreign key, has its number for a name
	q{SELECT 'trigger', c.name || ' ' || CASE WHEN tgisinternal THEN tgfoid::regproc::text ELSE tgname END,
		concat_ws(' ', CASE WHEN NOT tgisinternal THEN pg_get_triggerdef(t.oid) END, tgenabled)
		FROM tables c JOIN pg_trigger t ON tgrelid = c.oid},
	q{SELECT 'rule', c.name || ' ' || rulename, concat_ws(' ', pg_get_ruledef(r.oid), ev_enabled)
		FROM tables c JOIN pg_rewrite r ON ev_class = c.oid},
	q{SELECT 'policy', c.name || ' ' || polname, concat_ws(' ', polcmd, polpermissive, polroles,
		pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
		FROM tables c JOIN pg_policy ON polrelid = c.oid},
	q{SELECT 'statistics', stxname, pg_get_statisticsobjdef(oid) FROM pg_statistic_ext
		WHERE stxnamespace = 'pictrepo'::regnamespace},
	q{SELECT 'inherits', c.name, inhparent::regclass::text FROM tables c JOIN pg_inherits ON inhrelid = c.oid},
	q{SELECT 'publication', c.name, prpubid::text FROM tables c JOIN pg_publication_rel ON prrelid = c.oid},
	q{SELECT 'sequence', c.name, concat_ws(' ', format_type(seqtypid, NULL), seqstart, seqincrement, seqmax, seqmin,
		seqcache, seqcycle) FROM tables c JOIN pg_sequence ON seqrelid = c.oid},
	q{SELECT 'type', o.name, concat_ws(' ', typowner::regrole, typtype, typcategory, typdefault, typnotnull, typlen,
		(SELECT array_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid))
		FROM objects o JOIN pg_type t ON o.classid = 'pg_type'::regclass AND t.oid = o.objid},
	q{SELECT 'event trigger', evtname, concat_ws(' ', evtevent, evtowner::regrole, evtfoid::regproc, evtenabled, evttags)
		FROM pg_event_trigger},
	q{SELECT 'schema', nspname, nspowner::regrole::text FROM pg_namespace WHERE nspname = 'pictrepo'},

	# what may be done: now, and as the extension made it
	q{SELECT 'privilege', o.name, concat_ws(' ', coalesce(nullif(acl.grantee, 0)::regrole::text, 'PUBLIC'),
		acl.privilege_type, acl.is_grantable)
		FROM objects o, LATERAL (SELECT coalesce(
			(SELECT proacl FROM pg_proc WHERE oid = o.objid AND o.classid = 'pg_proc'::regclass),
			(SELECT relacl FROM pg_class WHERE oid = o.objid AND o.classid = 'pg_class'::regclass),
			(SELECT typacl FROM pg_type WHERE oid = o.objid AND o.classid = 'pg_type'::regclass),
			(SELECT nspacl FROM pg_namespace WHERE oid = o.objid AND o.classid = 'pg_namespace'::regclass),
			CASE o.classid WHEN 'pg_proc'::regclass THEN acldefault('f', 10) WHEN 'pg_type'::regclass THEN acldefault('T', 10)
				END) AS list) given,
		aclexplode(given.list) AS acl},
	q{SELECT 'initial privilege', o.name || ' ' || i.objsubid,
		concat_ws(' ', i.privtype, coalesce(nullif(acl.grantee, 0)::regrole::text, 'PUBLIC'), acl.privilege_type, acl.is_grantable)
		FROM objects o JOIN pg_init_privs i ON i.classoid = o.classid AND i.objoid = o.objid,
		aclexplode(i.initprivs) AS acl},
	q{SELECT 'default privilege', defaclnamespace::regnamespace::text, concat_ws(' ', defaclrole::regrole, defaclobjtype, defaclacl)
		FROM pg_default_acl WHERE defaclnamespace = 'pictrepo'::regnamespace},
);

=pod

=head1 METHODS

=over

=item catalog_query()

Gives a line for each fact.

=cut

sub catalog_query
{
	my $facts = join "\nUNION ALL\n", map { "SELECT * FROM ($_) AS fact (kind, name, fact)" } @FACTS;

	return "SET search_path = pg_catalog; WITH $OBJECTS\n"
	  . "SELECT format('%s of %s: %s', kind, name, replace(fact, E'\\n', ' '))\nFROM ($facts) facts";
}

=pod

=item catalog_of($node, $database)

These lines, in order.

=cut

sub catalog_of
{
	my ($node, $database) = @_;

	return sort split /\n/, $node->safe_psql($database, catalog_query());
}

=pod

=back

=cut

1;
