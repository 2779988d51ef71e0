// pictrepo from Go with pgx: the scenario that all clients run. A worker is in
// worker.go.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
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

func execute(db *pgx.Conn, sql string, args ...interface{}) {
	_, err := db.Exec(ctx, sql, args...)
	must(err)
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
	execute(db, "SELECT pictrepo.set($1, $2)", "bytes", everyByte)
	check("set, get: any bytes", data(db, "SELECT pictrepo.get($1)", "bytes"), everyByte)

	execute(db, "SELECT pictrepo.set_accessed_alias($1, $2)", "cat-1.png", noon)
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
		return text(db, "SELECT pictrepo.complete_job($1, $2, $3, attempt => $4)", "jobs", worker, id, 1)
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

	meanwhile("SELECT pictrepo.push($1, $2)", "jobs", object{"number": 2})
	row{&next.id, &next.job}.scan(db, "SELECT id, job FROM pictrepo.pop($1, $2, wait => $3)",
		"jobs", worker, 10*time.Second)
	check("pop with wait: what another connection pushes meanwhile", next.job, object{"number": 2.0})

	check("heartbeat: held",
		truth(db, "SELECT pictrepo.heartbeat($1, $2, $3, $4)", "jobs", worker, next.id, 1), true)
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
			"CALL pictrepo.pop_wait($1, $2, $3)", "jobs", worker, timeout)
		return
	}
	check("pop_wait: NULLs when the time is up", popWait(50*time.Millisecond), nullable{})
	push(db, "jobs", object{"number": 7})
	check("pop_wait: a job", popWait(10*time.Second).job, object{"number": 7.0})

	listener := listen("queue_status_channel")
	push(db, "heard", object{"number": 8})
	check("LISTEN: the push is heard with its queue", hears(listener, " heard"), true)
}

// meanwhile has another connection make a call when this one has begun to wait.
func meanwhile(sql string, args ...interface{}) {
	other := connect()
	go func() {
		time.Sleep(500 * time.Millisecond)
		execute(other, sql, args...)
		other.Close(ctx)
	}()
}

func many(db *pgx.Conn, worker string) {
	var ids []*string
	key := "a"
	row{&ids}.scan(db, "SELECT pictrepo.push_many($1, $2, $3)", "jobs",
		[]string{`{"number": 4}`, `{"number": 5}`, `{"number": 6}`}, []*string{&key, nil, &key})
	check("push_many: ids, and NULL where the key is held",
		[]bool{ids[0] != nil, ids[1] != nil, ids[2] != nil}, []bool{true, true, false})

	all := []string{*ids[0], *ids[1], newUUID()}
	execute(db, "SELECT pictrepo.pop($1, $2, $3)", "jobs", worker, 10)
	var outcomes []string
	row{&outcomes}.scan(db, "SELECT pictrepo.complete_many($1, $2, $3)", "jobs", worker, all)
	check("complete_many: completed, and lost", outcomes, []string{"completed", "completed", "lost"})
}

func listen(channel string) *pgx.Conn {
	db := connect()
	execute(db, "LISTEN "+channel)
	return db
}

func hears(listener *pgx.Conn, ending string) bool {
	defer listener.Close(ctx)
	soon, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		notification, err := listener.WaitForNotification(soon)
		if err != nil {
			return false
		}
		if strings.HasSuffix(notification.Payload, ending) {
			return true
		}
	}
}

func variants(db *pgx.Conn, hash []byte) {
	ours, theirs := newUUID(), newUUID()
	claim := func(worker string) string {
		return text(db, "SELECT pictrepo.claim_variant_processing_rights($1, $2, $3)", hash, "thumbnail", worker)
	}
	check("claim_variant_processing_rights: claimed, busy for another",
		[]string{claim(ours), claim(theirs)}, []string{"claimed", "busy"})
	listener := listen("keyed_notification_channel")
	meanwhile("SELECT pictrepo.finish_variant($1, $2, $3, $4, $5)",
		hash, "thumbnail", ours, "cat-128.webp", object{"width": 128})
	check("finish_variant, variant_waiter: what one connection waits for while the other stores it",
		text(db, "SELECT pictrepo.variant_waiter($1, $2, $3)", hash, "thumbnail", 10*time.Second), "cat-128.webp")
	check("LISTEN: the variant is heard with its hash",
		hears(listener, base64.StdEncoding.EncodeToString(hash)+"thumbnail"), true)

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
	listener := listen("upload_completion_channel")
	meanwhile("SELECT outcome FROM pictrepo.finish_ingest($1, $2, $3, $4, $5, $6, $7, $8, $9)",
		"process", worker, job, upload, makeHash(db, "dog"), "dog.png", details, "dog.png", "token")
	check("finish_ingest, wait: what one connection waits for while the other brings it",
		document(db, "SELECT pictrepo.wait($1, $2)", upload, 10*time.Second),
		object{"Success": object{"alias": "dog.png", "token": "token"}})
	check("LISTEN: the upload is heard", hears(listener, upload), true)
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

	execute(db, "SET default_transaction_read_only = on")
	fails("25006: a write while transactions are read-only", "SELECT pictrepo.push($1, $2)", "jobs", "1")
	execute(db, "SET default_transaction_read_only = off")
	upload := text(db, "SELECT pictrepo.create_upload()")
	truth(db, "SELECT pictrepo.claim($1)", upload)
	fails("P0002: an upload that was claimed", "SELECT pictrepo.wait($1, $2)", upload, 10*time.Second)
	execute(db, "BEGIN")
	fails("2D000: pop_wait in a transaction", "CALL pictrepo.pop_wait($1)", "empty")
	execute(db, "ROLLBACK")
	execute(db, "SET statement_timeout = '100ms'")
	fails("57014: a pop that waits for longer than statement_timeout",
		"SELECT pictrepo.pop($1, wait => $2)", "empty", 10*time.Second)
	execute(db, "SET statement_timeout = 0")
	execute(db, "BEGIN ISOLATION LEVEL REPEATABLE READ")
	data(db, "SELECT pictrepo.get($1)", "bytes")
	other := connect()
	execute(other, "SELECT pictrepo.create_hash('later', 'later.png')")
	other.Close(ctx)
	fails("40001: an alias of a hash that is newer than the snapshot", "SELECT pictrepo.create_alias('later.png', 'token', 'later')")
	execute(db, "ROLLBACK")
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
	variants(db, hash)
	uploadAndDelete(db)
	mistakes(db, hash)
}
