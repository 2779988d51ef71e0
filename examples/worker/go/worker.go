// A worker of pictrepo: does the jobs of a queue until SIGTERM.
//
//	worker QUEUE
package main

import (
	"context"
	"errors"
	"log"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/gofrs/uuid"
	"github.com/jackc/pgx/v4"
)

const (
	beat       = "SELECT pictrepo.heartbeat($1, $2, $3, $4)"
	wait       = "CALL pictrepo.pop_wait($1, $2, '10 s')"
	endAndNext = "SELECT id, job, attempt, outcome FROM pictrepo.complete_and_pop($1, $2, $3, $4, $5, $6)"
	end        = "SELECT NULL::uuid, NULL::jsonb, NULL::int, pictrepo.complete_job($1, $2, $3, $4, $5, $6)"
)

type job = map[string]interface{}

// A claim of a job; without a job the id is nil. The attempt is the claim's number.
type claim struct {
	id      *string
	job     job
	attempt *int
}

// handle does one job: your work goes here. An error lets the job fail, and it is
// tried again. When its context is done another worker has the job, and this one
// should leave it.
func handle(lost context.Context, job job) error {
	seconds, _ := job["seconds"].(float64)
	if seconds < 0 {
		return errors.New("no job takes less than no time")
	}
	select {
	case <-time.After(time.Duration(seconds * float64(time.Second))):
	case <-lost.Done():
	}
	return nil
}

// A worker has its own id, which it keeps when it connects again. The database is
// not told of stop, because a call that is cut off closes the connection.
type worker struct {
	stop      context.Context
	db        *pgx.Conn
	queue, id string
	beat      time.Duration // a quarter of pictrepo.heartbeat_timeout
}

func (w *worker) work() {
	for w.stop.Err() == nil {
		if err := w.workConnected(context.Background()); err != nil {
			log.Print("connecting again: ", err)
			time.Sleep(time.Second)
		}
	}
}

func (w *worker) workConnected(ctx context.Context) error {
	config, err := pgx.ParseConfig("")
	if err != nil {
		return err
	}
	config.RuntimeParams["application_name"] = "imagehost worker: " + w.queue
	// No prepared statements, because a transaction pooler may know none.
	config.PreferSimpleProtocol = true
	if w.db, err = pgx.ConnectConfig(ctx, config); err != nil {
		return err
	}
	defer w.db.Close(ctx)

	var c claim
	for err == nil && (c.id != nil || w.stop.Err() == nil) {
		if c.id != nil {
			c, err = w.do(ctx, c)
		} else {
			// pop_wait commits by itself, so there is no transaction around it.
			err = w.db.QueryRow(ctx, wait, w.queue, w.id).Scan(&c.id, &c.job, &c.attempt, nil)
		}
	}
	return err
}

// do does a job and ends it; the next one comes along, unless the worker is to stop.
func (w *worker) do(ctx context.Context, c claim) (next claim, err error) {
	lost, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error)
	go func() { done <- handle(lost, c.job) }()
	heart := time.NewTicker(w.beat)
	defer heart.Stop()
	for {
		select {
		case failure := <-done:
			return w.end(ctx, c, failure)
		case <-heart.C:
			var held bool
			err = w.db.QueryRow(ctx, beat, w.queue, w.id, c.id, c.attempt).Scan(&held)
			if err != nil || !held {
				log.Printf("job %s is lost", *c.id)
				cancel()
				<-done
				return claim{}, err
			}
		}
	}
}

func (w *worker) end(ctx context.Context, c claim, failure error) (next claim, err error) {
	sql, result, reason := endAndNext, "success", (*string)(nil)
	if w.stop.Err() != nil {
		sql = end
	}
	if failure != nil {
		text := failure.Error()
		result, reason = "failure", &text
	}
	var outcome string
	err = w.db.QueryRow(ctx, sql, w.queue, w.id, c.id, result, reason, c.attempt).
		Scan(&next.id, &next.job, &next.attempt, &outcome)
	if err == nil && outcome != "completed" {
		log.Printf("job %s is %s: %v", *c.id, outcome, failure)
	}
	return next, err
}

func main() {
	stop, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	seconds, err := strconv.Atoi(os.Getenv("HEARTBEAT_SECONDS"))
	if err != nil {
		seconds = 30
	}
	w := worker{stop: stop, queue: os.Args[1], id: uuid.Must(uuid.NewV4()).String(),
		beat: time.Duration(seconds) * time.Second}
	w.work()
}
