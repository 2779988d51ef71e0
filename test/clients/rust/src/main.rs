//! pictrepo from Rust with tokio-postgres: the scenario that all clients run. A
//! worker is in ../worker.

use std::env;
use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{stream, StreamExt};
use serde_json::{json, Value};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSqlOwned, ToSql};
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls, Row};
use uuid::Uuid;

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

fn details() -> Value {
    json!({"width": 640, "height": 480, "format": {"Image": "png"}})
}

fn check<T: PartialEq + Debug>(step: &str, got: T, wanted: T) {
    if got == wanted {
        println!("ok - {step}");
    } else {
        println!("not ok - {step}: {got:?}");
    }
}

/// The driver does not look at the environment by itself.
fn config() -> Config {
    let variable = |name| env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let mut config = Config::new();
    config
        .host(&variable("PGHOST"))
        .port(variable("PGPORT").parse().expect("PGPORT is a number"))
        .user(&variable("PGUSER"))
        .dbname(&variable("PGDATABASE"));
    config
}

async fn connect() -> Result<Client, Error> {
    let (db, connection) = config().connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(db)
}

/// A client that listens, and the payloads that it hears.
type Listener = (Client, mpsc::UnboundedReceiver<String>);

async fn listen(channel: &str) -> Result<Listener, Error> {
    let (db, mut connection) = config().connect(NoTls).await?;
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(notification) = message {
                let _ = sender.send(notification.payload().to_owned());
            }
        }
    });
    db.batch_execute(&format!("LISTEN {channel}")).await?;
    Ok((db, receiver))
}

async fn value<T: FromSqlOwned>(db: &Client, sql: &str, params: Params<'_>) -> Result<T, Error> {
    db.query_one(sql, params).await?.try_get(0)
}

async fn make_hash(db: &Client, content: &[u8]) -> Result<Vec<u8>, Error> {
    value(
        db,
        "SELECT pictrepo.make_hash($1, $2, 'png')",
        &[&Sha256::digest(content).as_slice(), &(content.len() as i64)],
    )
    .await
}

async fn ingest(
    db: &Client, hash: &[u8], identifier: &str, alias: &str, created_at: Option<SystemTime>,
) -> Result<String, Error> {
    value(
        db,
        "SELECT outcome FROM pictrepo.ingest($1, $2, $3, $4, $5, $6)",
        &[&hash, &identifier, &details(), &alias, &"token", &created_at],
    )
    .await
}

/// The first of January 2020, at noon.
fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_577_880_000)
}

async fn pictures(db: &Client, hash: &[u8]) -> Result<(), Error> {
    check("ingest: created", ingest(db, hash, "cat.png", "cat-1.png", None).await?, "created".into());
    check("ingest: duplicate", ingest(db, hash, "again.png", "cat-2.png", None).await?, "duplicate".into());
    let served = db
        .query_one("SELECT hash, identifier, details, fallback FROM pictrepo.serve($1)", &[&"cat-2.png"])
        .await?;
    check(
        "serve: the file and its details",
        (served.get(0), served.get(1), served.get(2), served.get(3)),
        (hash, "cat.png", details(), false),
    );

    let every_byte: Vec<u8> = (0..=255).collect();
    db.execute("SELECT pictrepo.set($1, $2)", &[&"bytes", &every_byte]).await?;
    check("set, get: any bytes", value(db, "SELECT pictrepo.get($1)", &[&"bytes"]).await?, every_byte);

    db.execute("SELECT pictrepo.set_accessed_alias($1, $2)", &[&"cat-1.png", &noon()]).await?;
    check(
        "set_accessed_alias, alias_accessed_at: the same time",
        value(db, "SELECT pictrepo.alias_accessed_at($1)", &[&"cat-1.png"]).await?,
        noon(),
    );
    Ok(())
}

struct Page {
    prev: Option<String>,
    next: Option<String>,
    hashes: Vec<Vec<u8>>,
}

async fn page_at(db: &Client, slug: Option<String>) -> Result<Page, Error> {
    let row = db
        .query_one("SELECT prev, next, hashes FROM pictrepo.hash_page($1, $2)", &[&slug, &2])
        .await?;
    Ok(Page { prev: row.get("prev"), next: row.get("next"), hashes: row.get("hashes") })
}

async fn pages(db: &Client, newest: &[u8]) -> Result<(), Error> {
    let mut wanted = vec![newest.to_vec()];
    for number in 0..5 {
        let hash = make_hash(db, format!("page {number}").as_bytes()).await?;
        let name = format!("page-{number}.png");
        ingest(db, &hash, &name, &name, Some(noon() + Duration::from_secs(60 * number))).await?;
        wanted.insert(1, hash);
    }

    let mut page = page_at(db, None).await?;
    let first = page.hashes.clone();
    let mut got = first.clone();
    while page.next.is_some() {
        page = page_at(db, page.next).await?;
        got.extend(page.hashes.clone());
    }
    check("hash_page: all hashes by its slugs, newest first", got, wanted);
    while page.prev.is_some() {
        page = page_at(db, page.prev).await?;
    }
    check("hash_page: prev leads back", page.hashes, first);
    Ok(())
}

async fn push(db: &Client, queue: &str, job: &Value) -> Result<Uuid, Error> {
    value(db, "SELECT pictrepo.push($1, $2)", &[&queue, job]).await
}

async fn complete(db: &Client, worker: Uuid, id: Uuid) -> Result<String, Error> {
    value(db, "SELECT pictrepo.complete_job($1, $2, $3, attempt => $4)", &[&"jobs", &worker, &id, &1]).await
}

async fn jobs(db: &Client) -> Result<(), Error> {
    let worker = Uuid::new_v4();

    let pushed = push(db, "jobs", &json!({"number": 1})).await?;
    let job = db.query_one("SELECT * FROM pictrepo.pop($1, $2)", &[&"jobs", &worker]).await?;
    let age = SystemTime::now().duration_since(job.get("queue_time")).unwrap_or_default();
    check(
        "push, pop: the job, its attempt and its time",
        (job.get("id"), job.get("job"), job.get("attempt"), age < Duration::from_secs(60)),
        (pushed, json!({"number": 1}), 1, true),
    );
    complete(db, worker, pushed).await?;

    // The driver has no type for an interval, so its text is cast in the statement.
    let job = while_other_calls(
        ("SELECT pictrepo.push($1, $2)", &[&"jobs", &json!({"number": 2})]),
        db.query_one(
            "SELECT id, job FROM pictrepo.pop($1, $2, wait => $3::text::interval)",
            &[&"jobs", &worker, &"10 s"],
        ),
    )
    .await?;
    check("pop with wait: what another connection pushes meanwhile", job.get("job"), json!({"number": 2}));

    let id: Uuid = job.get("id");
    check(
        "heartbeat: held",
        value(db, "SELECT pictrepo.heartbeat($1, $2, $3, $4)", &[&"jobs", &worker, &id, &1]).await?,
        true,
    );
    push(db, "jobs", &json!({"number": 3})).await?;
    let next = db
        .query_one(
            "SELECT outcome, id, job FROM pictrepo.complete_and_pop($1, $2, $3)",
            &[&"jobs", &worker, &id],
        )
        .await?;
    check(
        "complete_and_pop: completed, and the next job",
        (next.get("outcome"), next.get("job")),
        ("completed", json!({"number": 3})),
    );
    let id: Uuid = next.get("id");
    check("complete_job: completed", complete(db, worker, id).await?, "completed".into());
    check("complete_job: lost the second time", complete(db, worker, id).await?, "lost".into());

    let ids: Vec<Option<Uuid>> = value(
        db,
        "SELECT pictrepo.push_many($1, $2, $3)",
        &[
            &"jobs",
            &[json!({"number": 4}), json!({"number": 5}), json!({"number": 6})].as_slice(),
            &[Some("a"), None, Some("a")].as_slice(),
        ],
    )
    .await?;
    check(
        "push_many: ids, and NULL where the key is held",
        ids.iter().map(Option::is_some).collect(),
        vec![true, true, false],
    );
    let popped = db.query("SELECT id FROM pictrepo.pop($1, $2, $3)", &[&"jobs", &worker, &10]).await?;
    let mut ids: Vec<Uuid> = popped.iter().map(|row| row.get("id")).collect();
    ids.push(Uuid::new_v4());
    check::<Vec<String>>(
        "complete_many: completed, and lost",
        value(db, "SELECT pictrepo.complete_many($1, $2, $3)", &[&"jobs", &worker, &ids]).await?,
        vec!["completed".into(), "completed".into(), "lost".into()],
    );

    let none = pop_wait(db, worker, "50 ms").await?;
    check(
        "pop_wait: NULLs when the time is up",
        (none.get("id"), none.get("job"), none.get("attempt"), none.get("queue_time")),
        (None::<Uuid>, None::<Value>, None::<i32>, None::<SystemTime>),
    );
    push(db, "jobs", &json!({"number": 7})).await?;
    check("pop_wait: a job", pop_wait(db, worker, "10 s").await?.get("job"), json!({"number": 7}));

    let mut listener = listen("queue_status_channel").await?;
    push(db, "heard", &json!({"number": 8})).await?;
    check("LISTEN: the push is heard with its queue", hears(&mut listener, " heard").await, true);
    Ok(())
}

/// What one connection waits for while another one makes a call.
async fn while_other_calls<F>((sql, params): (&str, Params<'_>), waiting: F) -> Result<Row, Error>
where
    F: Future<Output = Result<Row, Error>>,
{
    let other = connect().await?;
    let call = async {
        sleep(Duration::from_millis(500)).await;
        other.query_one(sql, params).await
    };
    tokio::try_join!(waiting, call).map(|(row, _)| row)
}

async fn hears(listener: &mut Listener, ending: &str) -> bool {
    let heard = async {
        while let Some(payload) = listener.1.recv().await {
            if payload.ends_with(ending) {
                return true;
            }
        }
        false
    };
    timeout(Duration::from_secs(10), heard).await.unwrap_or(false)
}

async fn pop_wait(db: &Client, worker: Uuid, timeout: &str) -> Result<Row, Error> {
    db.query_one(
        "CALL pictrepo.pop_wait($1, $2, $3::text::interval)",
        &[&"jobs", &worker, &timeout],
    )
    .await
}

async fn claim_variant(db: &Client, hash: &[u8], worker: Uuid) -> Result<String, Error> {
    value(
        db,
        "SELECT pictrepo.claim_variant_processing_rights($1, $2, $3)",
        &[&hash, &"thumbnail", &worker],
    )
    .await
}

async fn variants(db: &Client, hash: &[u8]) -> Result<(), Error> {
    let (ours, theirs) = (Uuid::new_v4(), Uuid::new_v4());
    check(
        "claim_variant_processing_rights: claimed, busy for another",
        (claim_variant(db, hash, ours).await?, claim_variant(db, hash, theirs).await?),
        ("claimed".into(), "busy".into()),
    );
    let mut listener = listen("keyed_notification_channel").await?;
    let file = while_other_calls(
        (
            "SELECT pictrepo.finish_variant($1, $2, $3, $4, $5)",
            &[&hash, &"thumbnail", &ours, &"cat-128.webp", &json!({"width": 128})],
        ),
        db.query_one("SELECT pictrepo.variant_waiter($1, $2, '10 s')", &[&hash, &"thumbnail"]),
    )
    .await?;
    check(
        "finish_variant, variant_waiter: what one connection waits for while the other stores it",
        file.get(0),
        Some("cat-128.webp"),
    );
    let payload: String = value(db, "SELECT encode($1, 'base64') || $2", &[&hash, &"thumbnail"]).await?;
    check("LISTEN: the variant is heard with its hash", hears(&mut listener, &payload).await, true);
    let served = db
        .query_one(
            "SELECT identifier, details, original_identifier FROM pictrepo.serve_variant($1, $2)",
            &[&"cat-1.png", &"thumbnail"],
        )
        .await?;
    check(
        "serve_variant: its file",
        (served.get(0), served.get(1), served.get(2)),
        ("cat-128.webp", json!({"width": 128}), "cat.png"),
    );
    Ok(())
}

async fn delete(db: &Client, token: &str) -> Result<String, Error> {
    value(db, "SELECT pictrepo.delete_alias($1, $2)", &[&"dog.png", &token]).await
}

async fn upload_and_delete(db: &Client) -> Result<(), Error> {
    let worker = Uuid::new_v4();
    let upload: Uuid = value(db, "SELECT pictrepo.create_upload()", &[]).await?;
    db.execute(
        "SELECT pictrepo.push($1, $2, upload => $3)",
        &[&"process", &json!({"Ingest": {"identifier": "dog.png"}}), &upload],
    )
    .await?;
    let job: Uuid = value(db, "SELECT id FROM pictrepo.pop($1, $2)", &[&"process", &worker]).await?;
    let hash = make_hash(db, b"dog").await?;
    let mut listener = listen("upload_completion_channel").await?;
    let result = while_other_calls(
        (
            "SELECT * FROM pictrepo.finish_ingest($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            &[&"process", &worker, &job, &upload, &hash, &"dog.png", &details(), &"dog.png", &"token"],
        ),
        db.query_one("SELECT pictrepo.wait($1, '10 s')", &[&upload]),
    )
    .await?;
    check(
        "finish_ingest, wait: what one connection waits for while the other brings it",
        result.get(0),
        json!({"Success": {"alias": "dog.png", "token": "token"}}),
    );
    check("LISTEN: the upload is heard", hears(&mut listener, &upload.to_string()).await, true);
    check(
        "claim: once",
        (
            value(db, "SELECT pictrepo.claim($1)", &[&upload]).await?,
            value(db, "SELECT pictrepo.claim($1)", &[&upload]).await?,
        ),
        (true, false),
    );

    check("delete_alias: forbidden with another token", delete(db, "wrong").await?, "forbidden".into());
    check("delete_alias: deleted", delete(db, "token").await?, "deleted".into());
    let jobs = db.query("SELECT job FROM pictrepo.pop($1, max_jobs => $2)", &[&"cleanup", &10]).await?;
    check(
        "cleanup: the files that nothing needs any more",
        jobs.iter().map(|row| row.get::<_, Value>(0)["Identifier"]["identifier"].clone()).collect(),
        vec![json!("again.png"), json!("dog.png")],
    );
    Ok(())
}

async fn fails(db: &Client, step: &str, state: SqlState, sql: &str, params: Params<'_>) {
    match db.query(sql, params).await {
        Ok(rows) => println!("not ok - {step}: {rows:?}"),
        Err(error) => check(step, error.code(), Some(&state)),
    }
}

async fn errors(db: &Client, hash: &[u8]) -> Result<(), Error> {
    let create_alias = "SELECT pictrepo.create_alias($1, $2, $3)";
    let (null, long, unknown) = (None::<&[u8]>, "a".repeat(300), make_hash(db, b"unknown").await?);
    fails(db, "22004: a hash that is NULL", SqlState::NULL_VALUE_NOT_ALLOWED,
        create_alias, &[&"new.png", &"token", &null]).await;
    fails(db, "22023: a bad slug", SqlState::INVALID_PARAMETER_VALUE,
        "SELECT pictrepo.hash_page($1)", &[&"no slug"]).await;
    fails(db, "22001: an alias that is too long", SqlState::STRING_DATA_RIGHT_TRUNCATION,
        create_alias, &[&long, &"token", &hash]).await;
    fails(db, "23503: an alias of an unknown hash", SqlState::FOREIGN_KEY_VIOLATION,
        create_alias, &[&"new.png", &"token", &unknown]).await;
    // a parameter for jsonb would be a serde_json::Value, which is never malformed
    fails(db, "22P02: malformed JSON", SqlState::INVALID_TEXT_REPRESENTATION,
        "SELECT pictrepo.push($1, $2::text::jsonb)", &[&"jobs", &"{"]).await;
    fails(db, "42501: what takes an admin", SqlState::INSUFFICIENT_PRIVILEGE,
        "SELECT pictrepo.pause_queue($1)", &[&"jobs"]).await;

    db.batch_execute("SET default_transaction_read_only = on").await?;
    fails(db, "25006: a write while transactions are read-only", SqlState::READ_ONLY_SQL_TRANSACTION,
        "SELECT pictrepo.push($1, $2)", &[&"jobs", &json!(1)]).await;
    db.batch_execute("SET default_transaction_read_only = off").await?;
    let upload: Uuid = value(db, "SELECT pictrepo.create_upload()", &[]).await?;
    db.execute("SELECT pictrepo.claim($1)", &[&upload]).await?;
    fails(db, "P0002: an upload that was claimed", SqlState::NO_DATA_FOUND,
        "SELECT pictrepo.wait($1, '10 s')", &[&upload]).await;
    db.batch_execute("BEGIN").await?;
    fails(db, "2D000: pop_wait in a transaction", SqlState::INVALID_TRANSACTION_TERMINATION,
        "CALL pictrepo.pop_wait($1)", &[&"empty"]).await;
    db.batch_execute("ROLLBACK; SET statement_timeout = '100ms'").await?;
    fails(db, "57014: a pop that waits for longer than statement_timeout", SqlState::QUERY_CANCELED,
        "SELECT id FROM pictrepo.pop($1, wait => '10 s')", &[&"empty"]).await;
    db.batch_execute("SET statement_timeout = 0").await?;
    db.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pictrepo.get('bytes')").await?;
    connect().await?.execute("SELECT pictrepo.create_hash('later', 'later.png')", &[]).await?;
    fails(db, "40001: an alias of a hash that is newer than the snapshot", SqlState::T_R_SERIALIZATION_FAILURE,
        "SELECT pictrepo.create_alias('later.png', 'token', 'later')", &[]).await;
    db.batch_execute("ROLLBACK").await?;
    check::<String>(
        "after errors: the connection goes on",
        value(db, "SELECT pictrepo.identifier($1)", &[&hash]).await?,
        "cat.png".into(),
    );
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let db = connect().await?;
    let hash = make_hash(&db, b"cat").await?;
    pictures(&db, &hash).await?;
    pages(&db, &hash).await?;
    jobs(&db).await?;
    variants(&db, &hash).await?;
    upload_and_delete(&db).await?;
    errors(&db, &hash).await
}
