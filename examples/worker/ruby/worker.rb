# A worker of pictrepo: does the jobs of a queue until SIGTERM.
#
#     ruby worker.rb QUEUE
require "json"
require "pg"
require "securerandom"

# Seconds between heartbeats, a quarter of pictrepo.heartbeat_timeout.
BEAT = Integer(ENV.fetch("HEARTBEAT_SECONDS", 30))

WAIT = "CALL pictrepo.pop_wait($1, $2, '10 s')"
END_AND_NEXT = "SELECT id, job, attempt, outcome FROM pictrepo.complete_and_pop($1, $2, $3, $5, $6, $4)"
END_ONLY = "SELECT NULL, NULL, NULL, pictrepo.complete_job($1, $2, $3, $5, $6, $4)"

# Does one job: your work goes here. If it raises the job fails, and is tried
# again. Once lost.call is true it should leave the job.
def handle(job, lost)
  raise "no job takes less than no time" if job["seconds"].negative?
  deadline = Time.now + job["seconds"]
  sleep 0.1 until lost.call || Time.now > deadline
end

def work(queue, stop)
  worker = SecureRandom.uuid
  until stop.call
    begin
      db = PG.connect(application_name: "imagehost worker: #{queue}")
      work_connected(db, queue, worker, stop)
    rescue PG::ConnectionBad, PG::UnableToSend, PG::OperatorIntervention, PG::InsufficientResources,
           PG::TransactionRollback => error
      warn "connecting again: #{error.message}"
      sleep 1
    ensure
      db&.close
    end
  end
end

def work_connected(db, queue, worker, stop)
  id = nil
  while id || !stop.call
    # pop_wait commits by itself, so there is no transaction around it
    id, job, attempt =
      id ? do_job(db, [queue, worker, id, attempt], job, stop) : db.exec_params(WAIT, [queue, worker]).values.first
  end
end

# Does a job and ends it; the next one comes along, unless the worker is to stop.
def do_job(db, claim, job, stop)
  result, reason = "success", nil
  lost = beating(db, claim) do |is_lost|
    handle(JSON.parse(job), is_lost)
  rescue StandardError => error
    result, reason = "failure", error.message
  end
  return warn("job #{claim[2]} is lost") if lost
  *following, outcome = db.exec_params(stop.call ? END_ONLY : END_AND_NEXT, [*claim, result, reason]).values.first
  warn "job #{claim[2]} is #{outcome}: #{reason}" unless outcome == "completed"
  following
end

# Sends heartbeats meanwhile, on the worker's connection, which is idle. Whether
# the job is lost.
def beating(db, claim)
  lost = false
  busy = Mutex.new
  heart = Thread.new do
    until lost
      sleep BEAT
      busy.synchronize do
        lost = db.exec_params("SELECT pictrepo.heartbeat($1, $2, $3, $4)", claim).getvalue(0, 0) != "t"
      end
    end
  rescue PG::Error
    lost = true
  end
  yield -> { lost }
  lost
ensure
  busy.synchronize { heart.kill }
  heart.join
end

stopping = false
%w[TERM INT].each { |signal| trap(signal) { stopping = true } }
work(ARGV.first, -> { stopping })
