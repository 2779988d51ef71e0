-- What pictrepo is compared with, each in a schema of its own.

-- pict-rs 0.5's own tables: hashes as base64 text, its indexes, its triggers
CREATE SCHEMA pictrs;
CREATE TABLE pictrs.hashes (
	hash varchar(128) PRIMARY KEY,
	identifier text NOT NULL,
	motion_identifier text,
	created_at timestamp NOT NULL DEFAULT now(),
	blurhash text
);
CREATE INDEX ON pictrs.hashes (created_at, hash);
CREATE TABLE pictrs.variants (
	id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	hash varchar(128) NOT NULL REFERENCES pictrs.hashes ON DELETE CASCADE,
	variant text NOT NULL,
	identifier text NOT NULL,
	accessed timestamp NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX ON pictrs.variants (hash, variant);
CREATE TABLE pictrs.aliases (
	alias varchar(50) PRIMARY KEY,
	hash varchar(128) NOT NULL REFERENCES pictrs.hashes ON DELETE CASCADE,
	token varchar(60) NOT NULL
);
CREATE INDEX ON pictrs.aliases (hash);
CREATE TABLE pictrs.details (identifier text PRIMARY KEY, json jsonb NOT NULL);
CREATE TABLE pictrs.proxies (
	url text PRIMARY KEY,
	alias text NOT NULL REFERENCES pictrs.aliases (alias),
	accessed timestamp NOT NULL DEFAULT now()
);
CREATE TYPE pictrs.job_status AS ENUM ('new', 'running');
CREATE TABLE pictrs.job_queue (
	id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	queue varchar(50) NOT NULL,
	job jsonb NOT NULL,
	worker uuid,
	status pictrs.job_status NOT NULL DEFAULT 'new',
	queue_time timestamp NOT NULL DEFAULT now(),
	heartbeat timestamp,
	unique_key varchar(50) UNIQUE,
	retry int NOT NULL DEFAULT 5
);
CREATE INDEX ON pictrs.job_queue (queue, status);
CREATE INDEX ON pictrs.job_queue (heartbeat);
CREATE INDEX ON pictrs.job_queue (queue_time);
CREATE FUNCTION pictrs.queue_status_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_notify('queue_status_channel', NEW.id::text || ' ' || NEW.queue::text);
	RETURN NEW;
END $$;
CREATE TRIGGER queue_status AFTER INSERT OR UPDATE OF status ON pictrs.job_queue
	FOR EACH ROW EXECUTE FUNCTION pictrs.queue_status_notify();

-- Bare tables: the floor, for whoever can do without everything else
CREATE SCHEMA bare;
CREATE TABLE bare.jobs (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	job jsonb NOT NULL,
	taken bool NOT NULL DEFAULT false
);

-- A C function that does next to nothing, for what a call costs
CREATE FUNCTION bare.nothing(text) RETURNS int LANGUAGE internal STABLE AS 'textoctetlen';
