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
	wait       = "CALL pictrepo.pop_wait($1, $2, '10 s')"
	endAndNext = "SELECT id, job, outcome FROM pictrepo.complete_and_pop($1, $2, $3, $4, $5)"
	end        = "SELECT NULL::uuid, NULL::jsonb, pictrepo.complete_job($1, $2, $3, $4, $5)"
)

type job = map[string]interface{}

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

	var id *string
	var job job
	for err == nil && (id != nil || w.stop.Err() == nil) {
		if id != nil {
			id, job, err = w.do(ctx, *id, job)
		} else {
			// pop_wait commits by itself, so there is no transaction around it.
			err = w.db.QueryRow(ctx, wait, w.queue, w.id).Scan(&id, &job, nil, nil)
		}
	}
	return err
}

// do does a job and ends it; the next one comes along, unless the worker is to stop.
func (w *worker) do(ctx context.Context, id string, doing job) (next *string, job job, err error) {
	lost, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error)
	go func() { done <- handle(lost, doing) }()
	heart := time.NewTicker(w.beat)
	defer heart.Stop()
	for {
		select {
		case failure := <-done:
			return w.end(ctx, id, failure)
		case <-heart.C:
			var held bool
			err = w.db.QueryRow(ctx, "SELECT pictrepo.heartbeat($1, $2, $3)", w.queue, w.id, id).Scan(&held)
			if err != nil || !held {
				log.Printf("job %s is lost", id)
				cancel()
				<-done
				return nil, nil, err
			}
		}
	}
}

func (w *worker) end(ctx context.Context, id string, failure error) (next *string, job job, err error) {
	sql, result, reason := endAndNext, "success", (*string)(nil)
	if w.stop.Err() != nil {
		sql = end
	}
	if failure != nil {
		text := failure.Error()
		result, reason = "failure", &text
	}
	var outcome string
	err = w.db.QueryRow(ctx, sql, w.queue, w.id, id, result, reason).Scan(&next, &job, &outcome)
	if err == nil && outcome != "completed" {
		log.Printf("job %s is %s: %v", id, outcome, failure)
	}
	return next, job, err
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
