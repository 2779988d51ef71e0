//! A worker of pictrepo: does the jobs of a queue until SIGTERM.
//!
//!     worker QUEUE
//!
//! DATABASE_URL says where the database is, as "host=/run/postgresql user=imagehost dbname=imagehost".

use std::env;
use std::error::Error as StdError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::signal::unix::{signal, SignalKind};
use tokio::time::{interval_at, sleep, Instant};
use tokio_postgres::{Client, Config, Error, NoTls, Row};
use uuid::Uuid;

const BEAT: &str = "SELECT pictrepo.heartbeat($1, $2, $3, $4)";
const WAIT: &str = "CALL pictrepo.pop_wait($1, $2, '10 s')";
const END_AND_NEXT: &str = "SELECT id, job, attempt, outcome FROM pictrepo.complete_and_pop($1, $2, $3, $4, $5, $6)";
const END: &str = "SELECT NULL::uuid AS id, NULL::jsonb AS job, NULL::int AS attempt,
    pictrepo.complete_job($1, $2, $3, $4, $5, $6) AS outcome";

type Failure = Box<dyn StdError + Send + Sync>;

/// A job that the worker has claimed. The attempt is the number of the claim.
struct Claim {
    id: Uuid,
    job: Value,
    attempt: i32,
}

/// The job of a row, if it has one.
fn claim_of(row: &Row) -> Option<Claim> {
    let id: Option<Uuid> = row.get("id");
    id.map(|id| Claim { id, job: row.get("job"), attempt: row.get("attempt") })
}

/// Does one job: your work goes here. An error lets the job fail, and it is tried
/// again. When another worker has the job, this is dropped where it awaits.
async fn handle(job: &Value) -> Result<(), Failure> {
    let seconds = job["seconds"].as_i64().ok_or("a job takes some seconds")?;
    if seconds < 0 {
        return Err("no job takes less than no time".into());
    }
    sleep(Duration::from_secs(seconds as u64)).await;
    Ok(())
}

static STOP: AtomicBool = AtomicBool::new(false);

struct Worker {
    queue: String,
    id: Uuid,
    /// A quarter of `pictrepo.heartbeat_timeout`.
    beat: Duration,
}

impl Worker {
    async fn work(&self, config: &Config) -> Result<(), Error> {
        while !STOP.load(Ordering::Relaxed) {
            match self.work_connected(config).await {
                Err(error) if is_passing(&error) => {
                    eprintln!("connecting again: {error}");
                    sleep(Duration::from_secs(1)).await;
                }
                ended => ended?,
            }
        }
        Ok(())
    }

    async fn work_connected(&self, config: &Config) -> Result<(), Error> {
        let (db, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        let mut next: Option<Claim> = None;
        while next.is_some() || !STOP.load(Ordering::Relaxed) {
            next = match next {
                Some(claim) => self.do_job(&db, &claim).await?,
                // pop_wait commits by itself, so there is no transaction around it
                None => claim_of(&db.query_one(WAIT, &[&self.queue, &self.id]).await?),
            }
        }
        Ok(())
    }

    /// Does a job and ends it; the next one comes along, unless the worker is to stop.
    async fn do_job(&self, db: &Client, claim: &Claim) -> Result<Option<Claim>, Error> {
        let id = claim.id;
        let done = tokio::select! {
            done = handle(&claim.job) => done,
            lost = self.beat_until_lost(db, claim) => {
                eprintln!("job {id} is lost");
                return lost.map(|()| None);
            }
        };
        let (result, reason) = match done {
            Ok(()) => ("success", None),
            Err(error) => ("failure", Some(error.to_string())),
        };
        let sql = if STOP.load(Ordering::Relaxed) { END } else { END_AND_NEXT };
        let row = db.query_one(sql, &[&self.queue, &self.id, &id, &result, &reason, &claim.attempt]).await?;
        let outcome: String = row.get("outcome");
        if outcome != "completed" {
            eprintln!("job {id} is {outcome}: {reason:?}");
        }
        Ok(claim_of(&row))
    }

    /// Sends heartbeats on the worker's connection, which is idle while it works.
    async fn beat_until_lost(&self, db: &Client, claim: &Claim) -> Result<(), Error> {
        let mut heart = interval_at(Instant::now() + self.beat, self.beat);
        loop {
            heart.tick().await;
            let row = db.query_one(BEAT, &[&self.queue, &self.id, &claim.id, &claim.attempt]).await?;
            if !row.get::<_, bool>(0) {
                return Ok(());
            }
        }
    }
}

/// What trying again may help against: a lost connection, conflicts, something that
/// ran out, a server that goes down.
fn is_passing(error: &Error) -> bool {
    let passing = |code: &str| ["08", "40", "53", "57"].iter().any(|class| code.starts_with(class));
    error.is_closed() || error.code().map_or(true, |state| passing(state.code()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let queue = env::args().nth(1).ok_or("usage: worker QUEUE")?;
    let seconds = env::var("HEARTBEAT_SECONDS").unwrap_or_else(|_| "30".into()).parse()?;
    let mut config: Config = env::var("DATABASE_URL")?.parse()?;
    config.application_name(&format!("imagehost worker: {queue}"));
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut told = signal(kind)?;
        tokio::spawn(async move {
            told.recv().await;
            STOP.store(true, Ordering::Relaxed);
        });
    }
    let worker = Worker { queue, id: Uuid::new_v4(), beat: Duration::from_secs(seconds) };
    Ok(worker.work(&config).await?)
}
