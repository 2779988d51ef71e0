// A worker of pictrepo: does the jobs of a queue until SIGTERM.
//
//     java -cp postgresql.jar:gson.jar Worker.java QUEUE
//
// DATABASE_URL says where the database is, as jdbc:postgresql://localhost/imagehost?user=imagehost

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;

public final class Worker {
    // Seconds between heartbeats, a quarter of pictrepo.heartbeat_timeout.
    static final int BEAT = Integer.parseInt(System.getenv().getOrDefault("HEARTBEAT_SECONDS", "30"));

    static final String BEATS = "SELECT pictrepo.heartbeat(?, ?, ?, ?)";
    static final String WAIT = "CALL pictrepo.pop_wait(?, ?, '10 s')";
    static final String END_AND_NEXT = "SELECT id, job, attempt, outcome FROM pictrepo.complete_and_pop(?, ?, ?, ?, ?, ?)";
    static final String END = "SELECT NULL, NULL, NULL, pictrepo.complete_job(?, ?, ?, ?, ?, ?)";

    final String queue;
    final UUID worker = UUID.randomUUID();
    final AtomicBoolean stop;

    Worker(String queue, AtomicBoolean stop) {
        this.queue = queue;
        this.stop = stop;
    }

    // Does one job: your work goes here. If it throws the job fails, and is tried
    // again. When its thread is interrupted another worker has the job.
    static void handle(JsonObject job) throws Exception {
        var seconds = job.get("seconds").getAsInt();
        if (seconds < 0) throw new IllegalArgumentException("no job takes less than no time");
        TimeUnit.SECONDS.sleep(seconds);
    }

    void work() throws Exception {
        var properties = new Properties();
        properties.setProperty("ApplicationName", "imagehost worker: " + queue);
        // No prepared statements, because a transaction pooler may know none.
        properties.setProperty("prepareThreshold", "0");
        while (!stop.get()) {
            try (Connection db = DriverManager.getConnection(System.getenv("DATABASE_URL"), properties)) {
                workConnected(db);
            } catch (SQLException error) {
                if (!isPassing(error)) throw error;
                System.err.println("connecting again: " + error.getMessage());
                Thread.sleep(1000);
            }
        }
    }

    void workConnected(Connection db) throws Exception {
        String[] next = {null};
        while (next[0] != null || !stop.get()) {
            // pop_wait commits by itself, so there is no transaction around it.
            next = next[0] == null ? call(db, WAIT, queue, worker)
                : doJob(db, UUID.fromString(next[0]), next[1], Integer.valueOf(next[2]));
        }
    }

    static String[] call(Connection db, String sql, Object... parameters) throws SQLException {
        try (var statement = db.prepareStatement(sql)) {
            for (int index = 0; index < parameters.length; index++) statement.setObject(index + 1, parameters[index]);
            try (var result = statement.executeQuery()) {
                result.next();
                var row = new String[result.getMetaData().getColumnCount()];
                for (int index = 0; index < row.length; index++) row[index] = result.getString(index + 1);
                return row;
            }
        }
    }

    // Does a job and ends it; the next one comes along, unless the worker is to stop.
    String[] doJob(Connection db, UUID id, String job, Integer attempt) throws Exception {
        String result = "success", reason = null;
        var lost = new AtomicBoolean();
        var heart = beating(db, id, attempt, lost);
        try {
            handle(JsonParser.parseString(job).getAsJsonObject());
        } catch (Exception error) {
            result = "failure";
            reason = error.getMessage();
        } finally {
            end(heart);
        }
        if (lost.get()) {
            System.err.printf("job %s is lost%n", id);
            return new String[] {null};
        }
        var next = call(db, stop.get() ? END : END_AND_NEXT, queue, worker, id, result, reason, attempt);
        if (!next[3].equals("completed")) System.err.printf("job %s is %s: %s%n", id, next[3], reason);
        return next;
    }

    // Sends heartbeats meanwhile, on the worker's connection, which is idle.
    ScheduledExecutorService beating(Connection db, UUID id, Integer attempt, AtomicBoolean lost) {
        var heart = Executors.newSingleThreadScheduledExecutor();
        var working = Thread.currentThread();
        heart.scheduleAtFixedRate(() -> {
            try {
                lost.set(!"t".equals(call(db, BEATS, queue, worker, id, attempt)[0]));
            } catch (SQLException error) {
                lost.set(true);
            }
            if (lost.get()) {
                heart.shutdown();
                working.interrupt();
            }
        }, BEAT, BEAT, TimeUnit.SECONDS);
        return heart;
    }

    // The last heartbeat may have interrupted this thread after the work was over.
    static void end(ScheduledExecutorService heart) throws InterruptedException {
        heart.shutdown();
        while (!heart.isTerminated()) {
            try {
                heart.awaitTermination(1, TimeUnit.MINUTES);
            } catch (InterruptedException lost) {
                continue;
            }
        }
        Thread.interrupted();
    }

    // What trying again may help against: a lost connection, conflicts, something
    // that ran out, a server that goes down.
    static boolean isPassing(SQLException error) {
        return error.getSQLState() == null || error.getSQLState().matches("(08|40|53|57).*");
    }

    public static void main(String[] arguments) throws Exception {
        var stop = new AtomicBoolean();
        var working = Thread.currentThread();
        // Java goes when this is over.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stop.set(true);
            try {
                working.join();
            } catch (InterruptedException error) {
                // it goes at once, then
            }
        }));
        new Worker(arguments[0], stop).work();
    }
}
