# From an install script, what an upgrade script can run again: functions,
# procedures and views as CREATE OR REPLACE, and comments.
/^CREATE (FUNCTION|PROCEDURE|VIEW) / { sub(/^CREATE/, "CREATE OR REPLACE"); copying = 1 }
/^COMMENT ON / { copying = 1 }
copying {
	print
	if (gsub(/\$\$/, "&") % 2)
		in_body = !in_body
	if (!in_body && /;$/)
		copying = 0
}
