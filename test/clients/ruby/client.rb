# pictrepo from Ruby with pg.
#
# work() is a worker to copy. The rest is the scenario that all clients run.
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
# The worker
# ---------------------------------------------------------------------------

# Hands the jobs of a queue to the block until stop.call says so. A
# block that raises lets its job fail. One whose connection is cut may see the
# same job again, from any worker.
def work(queue, stop, beat: 30, &handler)
  worker = SecureRandom.uuid
  until stop.call
    begin
      db = connect(application_name: "worker")
      until stop.call
        # pop_wait commits by itself, so there is no transaction around it
        id, job = db.exec_params("CALL pictrepo.pop_wait($1, $2, '10 s', NULL, NULL, NULL, NULL)",
                                 [queue, worker]).values.first
        do_job(db, [queue, worker, id], job, beat, &handler) if id
      end
    rescue PG::ConnectionBad, PG::UnableToSend, PG::AdminShutdown, PG::CrashShutdown => error
      warn "connecting again: #{error.message}"
      sleep 1
    ensure
      db&.close
    end
  end
end

def do_job(db, claim, job, beat)
  result, reason = "success", nil
  beating(db, claim, beat) do
    yield job
  rescue StandardError => error
    result, reason = "failure", error.message
  end
  outcome = db.exec_params("SELECT pictrepo.complete_job($1, $2, $3, $4, $5)",
                           [*claim, result, reason]).getvalue(0, 0)
  # retrying, dead, or lost: another worker has it by now
  warn "job #{claim.last} is #{outcome}: #{reason}" unless outcome == "completed"
end

# Sends heartbeats meanwhile, on the worker's connection, which is idle.
def beating(db, claim, every)
  busy = Mutex.new
  heart = Thread.new do
    loop do
      sleep every
      busy.synchronize { db.exec_params("SELECT pictrepo.heartbeat($1, $2, $3)", claim) }
    end
  rescue PG::Error
    # complete_job will hear of it, too
  end
  yield
ensure
  busy.synchronize { heart.kill }
  heart.join
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
  complete = ->(id) { value(db, "SELECT pictrepo.complete_job($1, $2, $3)", "jobs", worker, id) }

  pushed = push[{ number: 1 }]
  popped = row(db, "SELECT * FROM pictrepo.pop($1, $2)", "jobs", worker)
  check "push, pop: the job, its attempt and its time",
        { **popped, "queue_time" => (Time.now - popped["queue_time"]).abs < 60 },
        { "id" => pushed, "job" => { "number" => 1 }, "attempt" => 1, "queue_time" => true }
  complete[popped["id"]]

  other = connect
  pusher = Thread.new { sleep 0.5 and push[{ number: 2 }, "jobs", other] }
  popped = row(db, "SELECT id, job FROM pictrepo.pop($1, $2, wait => $3)", "jobs", worker, "10 s")
  pusher.join
  check "pop with wait: what another connection pushes meanwhile", popped["job"], { "number" => 2 }

  check "heartbeat: held",
        value(db, "SELECT pictrepo.heartbeat($1, $2, $3)", "jobs", worker, popped["id"]), true
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
    row(db, "CALL pictrepo.pop_wait($1, $2, $3, NULL, NULL, NULL, NULL)", "jobs", worker, timeout)
  end
  check "pop_wait: NULLs when the time is up",
        pop_wait["50 ms"], { "id" => nil, "job" => nil, "attempt" => nil, "queue_time" => nil }
  push[{ number: 7 }]
  check "pop_wait: a job", pop_wait["10 s"]["job"], { "number" => 7 }

  other.exec("LISTEN queue_status_channel")
  push[{ number: 8 }, "heard"]
  heard = nil
  until heard == "heard"
    break unless other.wait_for_notify(10) { |_channel, _pid, payload| heard = payload.split.last }
  end
  check "LISTEN: the push is heard with its queue", heard, "heard"
  other.close
end

def worker_loop(db)
  stop = false
  push = lambda do |job, retries = nil, upload = nil|
    value(db, "SELECT pictrepo.push($1, $2, retry => $3, upload => $4)", "work", job, retries, upload)
  end
  done = -> { value(db, "SELECT job FROM pictrepo.pop($1, wait => $2)", "done", "20 s") }

  own = connect
  worker = Thread.new do
    work("work", -> { stop }, beat: 1) do |job|
      raise job["fail"] if job["fail"]
      sleep job["nap"]
      stop = job["last"]
      value(own, "SELECT pictrepo.push($1, $2)", "done", job)
    end
  end

  long = { "nap" => 4, "last" => false }
  last = { "nap" => 0, "last" => true }
  push[long]
  check "work: a job longer than the heartbeat timeout", done[], long

  upload = value(db, "SELECT pictrepo.create_upload()")
  push[{ fail: "the picture is broken" }, 0, upload]
  check "work: the upload of a job that fails hears why",
        value(db, "SELECT pictrepo.wait($1, $2)", upload, "20 s"),
        { "Failure" => { "message" => "the picture is broken", "code" => "job-failed" } }

  db.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity" \
          " WHERE datname = current_database() AND application_name = 'worker'")
  push[last]
  check "work: connects again", done[], last
  worker.join
  own.close
  check "work: ends when told, each job done once",
        %w[work done].map { |queue| value(db, "SELECT pictrepo.queue_length($1)", queue) }, [0, 2]
end

def variants(db, hash)
  ours, theirs = SecureRandom.uuid, SecureRandom.uuid
  claim = lambda do |worker|
    value(db, "SELECT pictrepo.claim_variant_processing_rights($1, $2, $3)", bytes(hash), "thumbnail", worker)
  end
  check "claim_variant_processing_rights: claimed, busy for another",
        [claim[ours], claim[theirs]], %w[claimed busy]
  check "finish_variant: stored",
        value(db, "SELECT pictrepo.finish_variant($1, $2, $3, $4, $5)",
              bytes(hash), "thumbnail", ours, "cat-128.webp", { width: 128 }), "stored"
  check "variant_waiter: its file",
        value(db, "SELECT pictrepo.variant_waiter($1, $2, $3)", bytes(hash), "thumbnail", "10 s"), "cat-128.webp"
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
  row(db, "SELECT * FROM pictrepo.finish_ingest($1, $2, $3, $4, $5, $6, $7, $8, $9)",
      "process", worker, job, upload, bytes(make_hash(db, "dog")), "dog.png", DETAILS, "dog.png", "token")
  check "wait: what finish_ingest left",
        value(db, "SELECT pictrepo.wait($1, $2)", upload, "10 s"),
        { "Success" => { "alias" => "dog.png", "token" => "token" } }
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
  check "after errors: the connection goes on",
        value(db, "SELECT pictrepo.identifier($1)", bytes(hash)), "cat.png"
end

$stdout.sync = true
db = connect
hash = make_hash(db, "cat")
pictures(db, hash)
pages(db, hash)
jobs(db)
worker_loop(db)
variants(db, hash)
upload_and_delete(db)
errors(db, hash)
db.close
