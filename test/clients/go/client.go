// pictrepo from Go with pgx.
//
// Work is a worker to copy. The rest is the scenario that all clients run.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log"
	"reflect"
	"strings"
	"time"

	"github.com/gofrs/uuid"
	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
)

type object = map[string]interface{}

// ---------------------------------------------------------------------------
// The worker
// ---------------------------------------------------------------------------

// A Handler does a job, unless its context says that the job is lost.
type Handler func(ctx context.Context, job object) error

// A claim is what a worker needs to say of a job that it holds.
type claim struct {
	db                *pgx.Conn
	queue, worker, id string
}

// Work hands the jobs of a queue to the handler until stop is done. A handler's
// error lets its job fail. One whose connection is cut may see the same job
// again, from any worker.
func Work(stop context.Context, config *pgx.ConnConfig, queue string, handler Handler, beat time.Duration) {
	worker := newUUID()
	for stop.Err() == nil {
		if err := workConnected(stop, config, queue, worker, handler, beat); err != nil {
			log.Print("connecting again: ", err)
			time.Sleep(time.Second)
		}
	}
}

// The database is not told of stop: a call that is cut off closes the connection.
func workConnected(
	stop context.Context, config *pgx.ConnConfig, queue, worker string, handler Handler, beat time.Duration,
) error {
	ctx := context.Background()
	db, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	for stop.Err() == nil {
		var id *string
		var job object
		// pop_wait commits by itself, so there is no transaction around it
		err := db.QueryRow(ctx, "CALL pictrepo.pop_wait($1, $2, '10 s', NULL, NULL, NULL, NULL)",
			queue, worker).Scan(&id, &job, nil, nil)
		if err == nil && id != nil {
			err = claim{db, queue, worker, *id}.do(job, handler, beat)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c claim) do(job object, handler Handler, beat time.Duration) error {
	ctx, lost := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- handler(ctx, job) }()
	defer lost()

	heart := time.NewTicker(beat)
	defer heart.Stop()
	for {
		select {
		case err := <-done:
			return c.complete(err)
		case <-heart.C:
			var held bool
			err := c.db.QueryRow(ctx, "SELECT pictrepo.heartbeat($1, $2, $3)", c.queue, c.worker, c.id).Scan(&held)
			if err != nil || !held {
				lost()
				<-done
				return err
			}
		}
	}
}

func (c claim) complete(failure error) error {
	result, reason := "success", (*string)(nil)
	if failure != nil {
		text := failure.Error()
		result, reason = "failure", &text
	}
	var outcome string
	err := c.db.QueryRow(context.Background(), "SELECT pictrepo.complete_job($1, $2, $3, $4, $5)",
		c.queue, c.worker, c.id, result, reason).Scan(&outcome)
	// retrying, dead, or lost: another worker has it by now
	if err == nil && outcome != "completed" {
		log.Printf("job %s is %s: %v", c.id, outcome, failure)
	}
	return err
}

// ---------------------------------------------------------------------------
// The scenario
// ---------------------------------------------------------------------------

var (
	ctx     = context.Background()
	details = object{"width": 640.0, "height": 480.0, "format": object{"Image": "png"}}
	noon    = time.Date(2020, 1, 1, 12, 0, 0, 0, time.UTC)
)

func check(step string, got, wanted interface{}) {
	if reflect.DeepEqual(got, wanted) {
		fmt.Println("ok -", step)
	} else {
		fmt.Printf("not ok - %s: %#v\n", step, got)
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func newUUID() string {
	return uuid.Must(uuid.NewV4()).String()
}

func connect() *pgx.Conn {
	db, err := pgx.Connect(ctx, "")
	must(err)
	return db
}

type row []interface{}

// scan reads one row into what the pointers point at.
func (pointers row) scan(db *pgx.Conn, sql string, args ...interface{}) {
	must(db.QueryRow(ctx, sql, args...).Scan(pointers...))
}

func text(db *pgx.Conn, sql string, args ...interface{}) (value string) {
	row{&value}.scan(db, sql, args...)
	return
}

func truth(db *pgx.Conn, sql string, args ...interface{}) (value bool) {
	row{&value}.scan(db, sql, args...)
	return
}

func data(db *pgx.Conn, sql string, args ...interface{}) (value []byte) {
	row{&value}.scan(db, sql, args...)
	return
}

func document(db *pgx.Conn, sql string, args ...interface{}) (value object) {
	row{&value}.scan(db, sql, args...)
	return
}

func makeHash(db *pgx.Conn, content string) []byte {
	sha := sha256.Sum256([]byte(content))
	return data(db, "SELECT pictrepo.make_hash($1, $2, 'png')", sha[:], len(content))
}

func ingest(db *pgx.Conn, hash []byte, identifier, alias string, createdAt *time.Time) string {
	return text(db, "SELECT outcome FROM pictrepo.ingest($1, $2, $3, $4, $5, $6)",
		hash, identifier, details, alias, "token", createdAt)
}

func pictures(db *pgx.Conn, hash []byte) {
	check("ingest: created", ingest(db, hash, "cat.png", "cat-1.png", nil), "created")
	check("ingest: duplicate", ingest(db, hash, "again.png", "cat-2.png", nil), "duplicate")

	var served struct {
		hash       []byte
		identifier string
		details    object
		fallback   bool
	}
	wanted := served
	wanted.hash, wanted.identifier, wanted.details = hash, "cat.png", details
	row{&served.hash, &served.identifier, &served.details, &served.fallback}.scan(db,
		"SELECT hash, identifier, details, fallback FROM pictrepo.serve($1)", "cat-2.png")
	check("serve: the file and its details", served, wanted)

	everyByte := make([]byte, 256)
	for index := range everyByte {
		everyByte[index] = byte(index)
	}
	_, err := db.Exec(ctx, "SELECT pictrepo.set($1, $2)", "bytes", everyByte)
	must(err)
	check("set, get: any bytes", data(db, "SELECT pictrepo.get($1)", "bytes"), everyByte)

	_, err = db.Exec(ctx, "SELECT pictrepo.set_accessed_alias($1, $2)", "cat-1.png", noon)
	must(err)
	var accessed time.Time
	row{&accessed}.scan(db, "SELECT pictrepo.alias_accessed_at($1)", "cat-1.png")
	check("set_accessed_alias, alias_accessed_at: the same time", accessed.UTC(), noon)
}

type page struct {
	prev, next *string
	hashes     [][]byte
}

func pageAt(db *pgx.Conn, slug *string) (p page) {
	row{&p.prev, &p.next, &p.hashes}.scan(db,
		"SELECT prev, next, hashes FROM pictrepo.hash_page($1, $2)", slug, 2)
	return
}

func pages(db *pgx.Conn, newest []byte) {
	wanted := [][]byte{newest}
	for number := 4; number >= 0; number-- {
		name := fmt.Sprintf("page-%d.png", number)
		createdAt := noon.Add(time.Duration(number) * time.Minute)
		hash := makeHash(db, name)
		ingest(db, hash, name, name, &createdAt)
		wanted = append(wanted, hash)
	}

	p := pageAt(db, nil)
	first := p.hashes
	got := append([][]byte(nil), first...)
	for p.next != nil {
		p = pageAt(db, p.next)
		got = append(got, p.hashes...)
	}
	check("hash_page: all hashes by its slugs, newest first", got, wanted)
	for p.prev != nil {
		p = pageAt(db, p.prev)
	}
	check("hash_page: prev leads back", p.hashes, first)
}

func push(db *pgx.Conn, queue string, job interface{}) string {
	return text(db, "SELECT pictrepo.push($1, $2)", queue, job)
}

func jobs(db *pgx.Conn) {
	worker := newUUID()
	complete := func(id string) string {
		return text(db, "SELECT pictrepo.complete_job($1, $2, $3)", "jobs", worker, id)
	}

	type popped struct {
		id      string
		job     object
		attempt int
		since   time.Time
	}
	var next popped
	pushed := push(db, "jobs", object{"number": 1})
	row{&next.id, &next.job, &next.attempt, &next.since}.scan(db, "SELECT * FROM pictrepo.pop($1, $2)", "jobs", worker)
	recent := time.Since(next.since) < time.Minute
	next.since = time.Time{}
	check("push, pop: the job, its attempt and its time",
		row{next, recent}, row{popped{id: pushed, job: object{"number": 1.0}, attempt: 1}, true})
	complete(next.id)

	other := connect()
	go func() {
		time.Sleep(500 * time.Millisecond)
		push(other, "jobs", object{"number": 2})
	}()
	row{&next.id, &next.job}.scan(db, "SELECT id, job FROM pictrepo.pop($1, $2, wait => $3)",
		"jobs", worker, 10*time.Second)
	check("pop with wait: what another connection pushes meanwhile", next.job, object{"number": 2.0})

	check("heartbeat: held",
		truth(db, "SELECT pictrepo.heartbeat($1, $2, $3)", "jobs", worker, next.id), true)
	push(db, "jobs", object{"number": 3})
	var outcome string
	row{&outcome, &next.id, &next.job}.scan(db,
		"SELECT outcome, id, job FROM pictrepo.complete_and_pop($1, $2, $3)", "jobs", worker, next.id)
	check("complete_and_pop: completed, and the next job",
		row{outcome, next.job}, row{"completed", object{"number": 3.0}})
	check("complete_job: completed", complete(next.id), "completed")
	check("complete_job: lost the second time", complete(next.id), "lost")

	many(db, worker)

	type nullable struct {
		id      *string
		job     object
		attempt *int
		since   *time.Time
	}
	popWait := func(timeout time.Duration) (n nullable) {
		row{&n.id, &n.job, &n.attempt, &n.since}.scan(db,
			"CALL pictrepo.pop_wait($1, $2, $3, NULL, NULL, NULL, NULL)", "jobs", worker, timeout)
		return
	}
	check("pop_wait: NULLs when the time is up", popWait(50*time.Millisecond), nullable{})
	push(db, "jobs", object{"number": 7})
	check("pop_wait: a job", popWait(10*time.Second).job, object{"number": 7.0})

	_, err := other.Exec(ctx, "LISTEN queue_status_channel")
	must(err)
	push(db, "heard", object{"number": 8})
	check("LISTEN: the push is heard with its queue", hear(other, "heard"), "heard")
	other.Close(ctx)
}

func many(db *pgx.Conn, worker string) {
	var ids []*string
	key := "a"
	row{&ids}.scan(db, "SELECT pictrepo.push_many($1, $2, $3)", "jobs",
		[]string{`{"number": 4}`, `{"number": 5}`, `{"number": 6}`}, []*string{&key, nil, &key})
	check("push_many: ids, and NULL where the key is held",
		[]bool{ids[0] != nil, ids[1] != nil, ids[2] != nil}, []bool{true, true, false})

	all := []string{*ids[0], *ids[1], newUUID()}
	_, err := db.Exec(ctx, "SELECT pictrepo.pop($1, $2, $3)", "jobs", worker, 10)
	must(err)
	var outcomes []string
	row{&outcomes}.scan(db, "SELECT pictrepo.complete_many($1, $2, $3)", "jobs", worker, all)
	check("complete_many: completed, and lost", outcomes, []string{"completed", "completed", "lost"})
}

func hear(db *pgx.Conn, queue string) string {
	soon, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		notification, err := db.WaitForNotification(soon)
		if err != nil {
			return err.Error()
		}
		if heard := strings.SplitN(notification.Payload, " ", 2)[1]; heard == queue {
			return heard
		}
	}
}

func workerLoop(db *pgx.Conn) {
	stop, cancel := context.WithCancel(ctx)
	config, err := pgx.ParseConfig("application_name=worker")
	must(err)
	own := connect()
	handler := func(_ context.Context, job object) error {
		if reason, fails := job["fail"].(string); fails {
			return errors.New(reason)
		}
		time.Sleep(time.Duration(job["nap"].(float64)) * time.Second)
		if job["last"].(bool) {
			cancel()
		}
		push(own, "done", job)
		return nil
	}
	ended := make(chan bool)
	go func() {
		Work(stop, config, "work", handler, time.Second)
		close(ended)
	}()

	give := func(job object, retry *int, upload *string) {
		text(db, "SELECT pictrepo.push($1, $2, retry => $3, upload => $4)", "work", job, retry, upload)
	}
	done := func() object {
		return document(db, "SELECT job FROM pictrepo.pop($1, wait => $2)", "done", 20*time.Second)
	}
	long, last := object{"nap": 4.0, "last": false}, object{"nap": 0.0, "last": true}
	give(long, nil, nil)
	check("work: a job longer than the heartbeat timeout", done(), long)

	upload := text(db, "SELECT pictrepo.create_upload()")
	give(object{"fail": "the picture is broken"}, new(int), &upload)
	check("work: the upload of a job that fails hears why",
		document(db, "SELECT pictrepo.wait($1, $2)", upload, 20*time.Second),
		object{"Failure": object{"message": "the picture is broken", "code": "job-failed"}})

	_, err = db.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"+
		" WHERE datname = current_database() AND application_name = 'worker'")
	must(err)
	give(last, nil, nil)
	check("work: connects again", done(), last)
	<-ended
	own.Close(ctx)
	var left, made int
	row{&left, &made}.scan(db, "SELECT pictrepo.queue_length($1), pictrepo.queue_length($2)", "work", "done")
	check("work: ends when told, each job done once", []int{left, made}, []int{0, 2})
}

func variants(db *pgx.Conn, hash []byte) {
	ours, theirs := newUUID(), newUUID()
	claim := func(worker string) string {
		return text(db, "SELECT pictrepo.claim_variant_processing_rights($1, $2, $3)", hash, "thumbnail", worker)
	}
	check("claim_variant_processing_rights: claimed, busy for another",
		[]string{claim(ours), claim(theirs)}, []string{"claimed", "busy"})
	check("finish_variant: stored",
		text(db, "SELECT pictrepo.finish_variant($1, $2, $3, $4, $5)",
			hash, "thumbnail", ours, "cat-128.webp", object{"width": 128}), "stored")
	check("variant_waiter: its file",
		text(db, "SELECT pictrepo.variant_waiter($1, $2, $3)", hash, "thumbnail", 10*time.Second), "cat-128.webp")

	var identifier, original string
	var details object
	row{&identifier, &details, &original}.scan(db,
		"SELECT identifier, details, original_identifier FROM pictrepo.serve_variant($1, $2)", "cat-1.png", "thumbnail")
	check("serve_variant: its file",
		row{identifier, details, original}, row{"cat-128.webp", object{"width": 128.0}, "cat.png"})
}

func uploadAndDelete(db *pgx.Conn) {
	worker := newUUID()
	upload := text(db, "SELECT pictrepo.create_upload()")
	text(db, "SELECT pictrepo.push($1, $2, upload => $3)",
		"process", object{"Ingest": object{"identifier": "dog.png"}}, upload)
	job := text(db, "SELECT id FROM pictrepo.pop($1, $2)", "process", worker)
	text(db, "SELECT outcome FROM pictrepo.finish_ingest($1, $2, $3, $4, $5, $6, $7, $8, $9)",
		"process", worker, job, upload, makeHash(db, "dog"), "dog.png", details, "dog.png", "token")
	check("wait: what finish_ingest left",
		document(db, "SELECT pictrepo.wait($1, $2)", upload, 10*time.Second),
		object{"Success": object{"alias": "dog.png", "token": "token"}})
	claim := func() bool { return truth(db, "SELECT pictrepo.claim($1)", upload) }
	check("claim: once", []bool{claim(), claim()}, []bool{true, false})

	remove := func(token string) string {
		return text(db, "SELECT pictrepo.delete_alias($1, $2)", "dog.png", token)
	}
	check("delete_alias: forbidden with another token", remove("wrong"), "forbidden")
	check("delete_alias: deleted", remove("token"), "deleted")
	check("cleanup: the files that nothing needs any more", superfluous(db), []string{"again.png", "dog.png"})
}

func superfluous(db *pgx.Conn) (files []string) {
	rows, err := db.Query(ctx, "SELECT job FROM pictrepo.pop($1, max_jobs => $2)", "cleanup", 10)
	must(err)
	for rows.Next() {
		var job struct{ Identifier struct{ Identifier string } }
		must(rows.Scan(&job))
		files = append(files, job.Identifier.Identifier)
	}
	must(rows.Err())
	return
}

func mistakes(db *pgx.Conn, hash []byte) {
	fails := func(step, sql string, args ...interface{}) {
		_, err := db.Exec(ctx, sql, args...)
		var got *pgconn.PgError
		if errors.As(err, &got) {
			check(step, got.Code, step[:5])
		} else {
			check(step, err, step[:5])
		}
	}
	createAlias := "SELECT pictrepo.create_alias($1, $2, $3)"
	fails("22004: a hash that is NULL", createAlias, "new.png", "token", nil)
	fails("22023: a bad slug", "SELECT pictrepo.hash_page($1)", "no slug")
	fails("22001: an alias that is too long", createAlias, strings.Repeat("a", 300), "token", hash)
	fails("23503: an alias of an unknown hash", createAlias, "new.png", "token", makeHash(db, "unknown"))
	fails("22P02: malformed JSON", "SELECT pictrepo.push($1, $2)", "jobs", "{")
	fails("42501: what takes an admin", "SELECT pictrepo.pause_queue($1)", "jobs")
	check("after errors: the connection goes on",
		text(db, "SELECT pictrepo.identifier($1)", hash), "cat.png")
}

func main() {
	db := connect()
	defer db.Close(ctx)
	hash := makeHash(db, "cat")
	pictures(db, hash)
	pages(db, hash)
	jobs(db)
	workerLoop(db)
	variants(db, hash)
	uploadAndDelete(db)
	mistakes(db, hash)
}
