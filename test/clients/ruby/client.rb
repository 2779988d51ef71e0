# pictrepo from Ruby with pg: the scenario that all clients run. A worker is in
# worker.rb.
require "digest"
require "json"
require "pg"
require "securerandom"

# ---------------------------------------------------------------------------
# Types
# ---------------------------------------------------------------------------

# With these maps a Hash is jsonb, a Time timestamptz and an Array an array, both
# ways. A string is sent without a type, so the server takes it for what it should
# be; an array of strings is text[], which the statement must cast.
def connect(**options)
  db = PG.connect(**options)
  # a uuid is a string, which the driver does not know by itself
  types = PG::BasicTypeRegistry.new.register_default_types
  types.alias_type 0, "uuid", "text"
  db.type_map_for_queries = PG::BasicTypeMapForQueries.new(db, registry: types)
  db.type_map_for_results = PG::BasicTypeMapForResults.new(db, registry: types)
  db
end

def bytes(string)
  PG::BasicTypeMapForQueries::BinaryData.new(string)
end

# ---------------------------------------------------------------------------
# The scenario
# ---------------------------------------------------------------------------

DETAILS = { "width" => 640, "height" => 480, "format" => { "Image" => "png" } }.freeze

def check(step, got, wanted)
  puts got == wanted ? "ok - #{step}" : "not ok - #{step}: #{got.inspect}"
end

def rows(db, sql, *args)
  db.exec_params(sql, args).to_a
end

def row(db, sql, *args)
  rows(db, sql, *args).first
end

def value(db, sql, *args)
  db.exec_params(sql, args).getvalue(0, 0)
end

def make_hash(db, content)
  value(db, "SELECT pictrepo.make_hash($1, $2, 'png')", bytes(Digest::SHA256.digest(content)), content.bytesize)
end

def ingest(db, hash, identifier, name, created_at = nil)
  value(db, "SELECT outcome FROM pictrepo.ingest($1, $2, $3, $4, $5, $6)",
        bytes(hash), identifier, DETAILS, name, "token", created_at)
end

def pictures(db, hash)
  check "ingest: created", ingest(db, hash, "cat.png", "cat-1.png"), "created"
  check "ingest: duplicate", ingest(db, hash, "again.png", "cat-2.png"), "duplicate"
  check "serve: the file and its details",
        row(db, "SELECT hash, identifier, details, fallback FROM pictrepo.serve($1)", "cat-2.png"),
        { "hash" => hash, "identifier" => "cat.png", "details" => DETAILS, "fallback" => false }

  every_byte = (0..255).to_a.pack("C*")
  db.exec_params("SELECT pictrepo.set($1, $2)", ["bytes", bytes(every_byte)])
  check "set, get: any bytes", value(db, "SELECT pictrepo.get($1)", "bytes"), every_byte

  noon = Time.utc(2020, 1, 1, 12)
  db.exec_params("SELECT pictrepo.set_accessed_alias($1, $2)", ["cat-1.png", noon])
  check "set_accessed_alias, alias_accessed_at: the same time",
        value(db, "SELECT pictrepo.alias_accessed_at($1)", "cat-1.png"), noon
end

def pages(db, newest)
  wanted = [newest]
  5.times do |number|
    hash = make_hash(db, "page #{number}")
    ingest(db, hash, "page-#{number}.png", "page-#{number}.png", Time.utc(2020, 1, 1, 12, number))
    wanted.insert(1, hash)
  end

  page_at = ->(slug) { row(db, "SELECT prev, next, hashes FROM pictrepo.hash_page($1, $2)", slug, 2) }
  page = page_at[nil]
  first = page["hashes"]
  got = first.dup
  while page["next"]
    page = page_at[page["next"]]
    got.concat(page["hashes"])
  end
  check "hash_page: all hashes by its slugs, newest first", got, wanted
  page = page_at[page["prev"]] while page["prev"]
  check "hash_page: prev leads back", page["hashes"], first
end

def jobs(db)
  worker = SecureRandom.uuid
  push = ->(job, queue = "jobs", on = db) { value(on, "SELECT pictrepo.push($1, $2)", queue, job) }
  complete = ->(id) { value(db, "SELECT pictrepo.complete_job($1, $2, $3, attempt => $4)", "jobs", worker, id, 1) }

  pushed = push[{ number: 1 }]
  popped = row(db, "SELECT * FROM pictrepo.pop($1, $2)", "jobs", worker)
  check "push, pop: the job, its attempt and its time",
        { **popped, "queue_time" => (Time.now - popped["queue_time"]).abs < 60 },
        { "id" => pushed, "job" => { "number" => 1 }, "attempt" => 1, "queue_time" => true }
  complete[popped["id"]]

  popped = while_other_calls(->(other) { push[{ number: 2 }, "jobs", other] }) do
    row(db, "SELECT id, job FROM pictrepo.pop($1, $2, wait => $3)", "jobs", worker, "10 s")
  end
  check "pop with wait: what another connection pushes meanwhile", popped["job"], { "number" => 2 }

  check "heartbeat: held",
        value(db, "SELECT pictrepo.heartbeat($1, $2, $3, $4)", "jobs", worker, popped["id"], 1), true
  push[{ number: 3 }]
  popped = row(db, "SELECT outcome, id, job FROM pictrepo.complete_and_pop($1, $2, $3)",
               "jobs", worker, popped["id"])
  check "complete_and_pop: completed, and the next job",
        popped.values_at("outcome", "job"), ["completed", { "number" => 3 }]
  check "complete_job: completed", complete[popped["id"]], "completed"
  check "complete_job: lost the second time", complete[popped["id"]], "lost"

  numbered = [4, 5, 6].map { |number| JSON.generate(number: number) }
  ids = value(db, "SELECT pictrepo.push_many($1, $2::jsonb[], $3)", "jobs", numbered, ["a", nil, "a"])
  check "push_many: ids, and NULL where the key is held", ids.map { |id| !id.nil? }, [true, true, false]
  ids = db.exec_params("SELECT id FROM pictrepo.pop($1, $2, $3)", ["jobs", worker, 10]).column_values(0)
  check "complete_many: completed, and lost",
        value(db, "SELECT pictrepo.complete_many($1, $2, $3::uuid[])", "jobs", worker, [*ids, SecureRandom.uuid]),
        %w[completed completed lost]

  pop_wait = lambda do |timeout|
    row(db, "CALL pictrepo.pop_wait($1, $2, $3)", "jobs", worker, timeout)
  end
  check "pop_wait: NULLs when the time is up",
        pop_wait["50 ms"], { "id" => nil, "job" => nil, "attempt" => nil, "queue_time" => nil }
  push[{ number: 7 }]
  check "pop_wait: a job", pop_wait["10 s"]["job"], { "number" => 7 }

  listener = listen("queue_status_channel")
  push[{ number: 8 }, "heard"]
  check "LISTEN: the push is heard with its queue", hears?(listener, " heard"), true
end

def listen(channel)
  connect.tap { |db| db.exec("LISTEN #{channel}") }
end

def hears?(listener, ending)
  heard = ""
  until heard.end_with?(ending)
    return false unless listener.wait_for_notify(10) { |_channel, _pid, payload| heard = payload }
  end
  listener.close
  true
end

# What the block waits for while another connection makes a call.
def while_other_calls(call)
  other = connect
  calling = Thread.new { sleep 0.5 and call[other] }
  yield
ensure
  calling.join
  other.close
end

def variants(db, hash)
  ours, theirs = SecureRandom.uuid, SecureRandom.uuid
  claim = lambda do |worker|
    value(db, "SELECT pictrepo.claim_variant_processing_rights($1, $2, $3)", bytes(hash), "thumbnail", worker)
  end
  check "claim_variant_processing_rights: claimed, busy for another",
        [claim[ours], claim[theirs]], %w[claimed busy]
  listener = listen("keyed_notification_channel")
  finish = lambda do |other|
    value(other, "SELECT pictrepo.finish_variant($1, $2, $3, $4, $5)",
          bytes(hash), "thumbnail", ours, "cat-128.webp", { width: 128 })
  end
  file = while_other_calls(finish) do
    value(db, "SELECT pictrepo.variant_waiter($1, $2, $3)", bytes(hash), "thumbnail", "10 s")
  end
  check "finish_variant, variant_waiter: what one connection waits for while the other stores it",
        file, "cat-128.webp"
  check "LISTEN: the variant is heard with its hash", hears?(listener, "#{[hash].pack("m0")}thumbnail"), true
  check "serve_variant: its file",
        row(db, "SELECT identifier, details, original_identifier FROM pictrepo.serve_variant($1, $2)",
            "cat-1.png", "thumbnail"),
        { "identifier" => "cat-128.webp", "details" => { "width" => 128 }, "original_identifier" => "cat.png" }
end

def upload_and_delete(db)
  worker = SecureRandom.uuid
  upload = value(db, "SELECT pictrepo.create_upload()")
  value(db, "SELECT pictrepo.push($1, $2, upload => $3)",
        "process", { Ingest: { identifier: "dog.png" } }, upload)
  job = value(db, "SELECT id FROM pictrepo.pop($1, $2)", "process", worker)
  listener = listen("upload_completion_channel")
  finish = lambda do |other|
    row(other, "SELECT * FROM pictrepo.finish_ingest($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        "process", worker, job, upload, bytes(make_hash(other, "dog")), "dog.png", DETAILS, "dog.png", "token")
  end
  result = while_other_calls(finish) { value(db, "SELECT pictrepo.wait($1, $2)", upload, "10 s") }
  check "finish_ingest, wait: what one connection waits for while the other brings it",
        result, { "Success" => { "alias" => "dog.png", "token" => "token" } }
  check "LISTEN: the upload is heard", hears?(listener, upload), true
  check "claim: once", Array.new(2) { value(db, "SELECT pictrepo.claim($1)", upload) }, [true, false]

  delete = ->(token) { value(db, "SELECT pictrepo.delete_alias($1, $2)", "dog.png", token) }
  check "delete_alias: forbidden with another token", delete["wrong"], "forbidden"
  check "delete_alias: deleted", delete["token"], "deleted"
  check "cleanup: the files that nothing needs any more",
        rows(db, "SELECT job FROM pictrepo.pop($1, max_jobs => $2)", "cleanup", 10)
          .map { |popped| popped["job"]["Identifier"]["identifier"] },
        ["again.png", "dog.png"]
end

def errors(db, hash)
  fails = lambda do |step, error, sql, *args|
    check step, value(db, sql, *args), error
  rescue PG::Error => got
    check step, got.class, error
  end
  create_alias = "SELECT pictrepo.create_alias($1, $2, $3)"
  fails["22004: a hash that is NULL", PG::NullValueNotAllowed, create_alias, "new.png", "token", nil]
  fails["22023: a bad slug", PG::InvalidParameterValue, "SELECT pictrepo.hash_page($1)", "no slug"]
  fails["22001: an alias that is too long", PG::StringDataRightTruncation,
        create_alias, "a" * 300, "token", bytes(hash)]
  fails["23503: an alias of an unknown hash", PG::ForeignKeyViolation,
        create_alias, "new.png", "token", bytes(make_hash(db, "unknown"))]
  fails["22P02: malformed JSON", PG::InvalidTextRepresentation, "SELECT pictrepo.push($1, $2)", "jobs", "{"]
  fails["42501: what takes an admin", PG::InsufficientPrivilege, "SELECT pictrepo.pause_queue($1)", "jobs"]

  db.exec("SET default_transaction_read_only = on")
  fails["25006: a write while transactions are read-only", PG::ReadOnlySqlTransaction,
        "SELECT pictrepo.push($1, $2)", "jobs", "1"]
  db.exec("SET default_transaction_read_only = off")
  upload = value(db, "SELECT pictrepo.create_upload()")
  value(db, "SELECT pictrepo.claim($1)", upload)
  fails["P0002: an upload that was claimed", PG::NoDataFound, "SELECT pictrepo.wait($1, $2)", upload, "10 s"]
  db.exec("BEGIN")
  fails["2D000: pop_wait in a transaction", PG::InvalidTransactionTermination, "CALL pictrepo.pop_wait($1)", "empty"]
  db.exec("ROLLBACK")
  db.exec("SET statement_timeout = '100ms'")
  fails["57014: a pop that waits for longer than statement_timeout", PG::QueryCanceled,
        "SELECT pictrepo.pop($1, wait => $2)", "empty", "10 s"]
  db.exec("SET statement_timeout = 0")
  db.exec("BEGIN ISOLATION LEVEL REPEATABLE READ")
  value(db, "SELECT pictrepo.get($1)", "bytes")
  other = connect
  value(other, "SELECT pictrepo.create_hash('later', 'later.png')")
  other.close
  fails["40001: an alias of a hash that is newer than the snapshot", PG::TRSerializationFailure,
        "SELECT pictrepo.create_alias('later.png', 'token', 'later')"]
  db.exec("ROLLBACK")
  check "after errors: the connection goes on",
        value(db, "SELECT pictrepo.identifier($1)", bytes(hash)), "cat.png"
end

$stdout.sync = true
db = connect
hash = make_hash(db, "cat")
pictures(db, hash)
pages(db, hash)
jobs(db)
variants(db, hash)
upload_and_delete(db)
errors(db, hash)
db.close
