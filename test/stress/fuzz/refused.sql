-- Documents in hex, one a line of standard input: none of them may be JSON to the server.

CREATE TEMP TABLE refused (document text);
\copy refused from pstdin
DO $$
DECLARE
	hex text;
	taken jsonb;
BEGIN
	FOR hex IN SELECT document FROM refused LOOP
		taken := NULL;
		BEGIN
			taken := convert_from(decode(hex, 'hex'), 'UTF8')::jsonb;
		EXCEPTION WHEN OTHERS THEN
			NULL;
		END;
		IF taken IS NOT NULL THEN
			RAISE EXCEPTION 'JSON to the server, but not to the library: %', taken USING DETAIL = hex;
		END IF;
	END LOOP;
END
$$;
