// pictrepo from Java with JDBC, and Gson for the documents: the scenario that all
// clients run. A worker is in Worker.java.

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.sql.Array;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Objects;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.util.PGobject;

public final class Client {
    // -----------------------------------------------------------------------
    // Calls
    // -----------------------------------------------------------------------

    // The driver does not look at the environment by itself, and knows no Unix sockets.
    static Connection connect(String application) throws SQLException {
        var url = "jdbc:postgresql://%s:%s/%s".formatted(
            System.getenv("PGHOST"), System.getenv("PGPORT"), System.getenv("PGDATABASE"));
        var properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        properties.setProperty("ApplicationName", application);
        return DriverManager.getConnection(url, properties);
    }

    // The driver says of each string that it is a varchar; what is not must say so.
    static PGobject typed(String type, String value) throws SQLException {
        var object = new PGobject();
        object.setType(type);
        object.setValue(value);
        return object;
    }

    static Object parameter(Connection db, Object value) throws SQLException {
        if (value instanceof JsonElement json) return typed("jsonb", json.toString());
        if (value instanceof Duration time) return typed("interval", time.toString());
        if (value instanceof JsonElement[] jsons) return db.createArrayOf("jsonb", jsons);
        if (value instanceof UUID[] uuids) return db.createArrayOf("uuid", uuids);
        if (value instanceof String[] texts) return db.createArrayOf("text", texts);
        return value;
    }

    static void execute(Connection db, String sql) throws SQLException {
        try (var statement = db.createStatement()) {
            statement.execute(sql);
        }
    }

    // Rows as they come: byte[], String, Integer, Long, Boolean, UUID; JSON and arrays in Java's form.
    static List<List<Object>> rows(Connection db, String sql, Object... parameters) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement(sql)) {
            for (int index = 0; index < parameters.length; index++) {
                statement.setObject(index + 1, parameter(db, parameters[index]));
            }
            try (ResultSet result = statement.executeQuery()) {
                var rows = new ArrayList<List<Object>>();
                while (result.next()) rows.add(row(result));
                return rows;
            }
        }
    }

    static List<Object> row(ResultSet result) throws SQLException {
        var row = new ArrayList<Object>();
        for (int column = 1; column <= result.getMetaData().getColumnCount(); column++) {
            Object value = result.getMetaData().getColumnTypeName(column).equals("timestamptz")
                ? result.getObject(column, OffsetDateTime.class) : result.getObject(column);
            if (value instanceof PGobject object && object.getType().equals("jsonb")) {
                value = JsonParser.parseString(object.getValue());
            } else if (value instanceof Array array) {
                value = Arrays.asList((Object[]) array.getArray());
            }
            row.add(value);
        }
        return row;
    }

    static List<Object> row(Connection db, String sql, Object... parameters) throws SQLException {
        return rows(db, sql, parameters).get(0);
    }

    @SuppressWarnings("unchecked")
    static <T> T value(Connection db, String sql, Object... parameters) throws SQLException {
        return (T) row(db, sql, parameters).get(0);
    }

    // -----------------------------------------------------------------------
    // The scenario
    // -----------------------------------------------------------------------

    static final JsonObject DETAILS = json("{'width': 640, 'height': 480, 'format': {'Image': 'png'}}");
    static final OffsetDateTime NOON = OffsetDateTime.of(2020, 1, 1, 12, 0, 0, 0, ZoneOffset.UTC);

    // Gson takes single quotes, too.
    static JsonObject json(String text) {
        return JsonParser.parseString(text).getAsJsonObject();
    }

    static JsonObject number(int number) {
        return json("{'number': %d}".formatted(number));
    }

    static void check(String step, Object got, Object wanted) {
        System.out.println(Objects.deepEquals(got, wanted) ? "ok - " + step : "not ok - " + step + ": " + got);
    }

    // A byte[] is not equal to another one, but their lists of bytes are.
    static List<Byte> bytes(Object array) {
        var list = new ArrayList<Byte>();
        for (byte value : (byte[]) array) list.add(value);
        return list;
    }

    static byte[] makeHash(Connection db, String content) throws Exception {
        var bytes = content.getBytes(StandardCharsets.UTF_8);
        return value(db, "SELECT pictrepo.make_hash(?, ?, 'png')",
            MessageDigest.getInstance("SHA-256").digest(bytes), bytes.length);
    }

    static String ingest(Connection db, byte[] hash, String identifier, String alias, OffsetDateTime createdAt)
            throws SQLException {
        return value(db, "SELECT outcome FROM pictrepo.ingest(?, ?, ?, ?, ?, ?)",
            hash, identifier, DETAILS, alias, "token", createdAt);
    }

    static void pictures(Connection db, byte[] hash) throws SQLException {
        check("ingest: created", ingest(db, hash, "cat.png", "cat-1.png", null), "created");
        check("ingest: duplicate", ingest(db, hash, "again.png", "cat-2.png", null), "duplicate");
        var served = row(db, "SELECT hash, identifier, details, fallback FROM pictrepo.serve(?)", "cat-2.png");
        served.set(0, bytes(served.get(0)));
        check("serve: the file and its details", served, List.of(bytes(hash), "cat.png", DETAILS, false));

        var everyByte = new byte[256];
        for (int index = 0; index < 256; index++) everyByte[index] = (byte) index;
        rows(db, "SELECT pictrepo.set(?, ?)", "bytes", everyByte);
        check("set, get: any bytes", value(db, "SELECT pictrepo.get(?)", "bytes"), everyByte);

        rows(db, "SELECT pictrepo.set_accessed_alias(?, ?)", "cat-1.png", NOON);
        check("set_accessed_alias, alias_accessed_at: the same time",
            value(db, "SELECT pictrepo.alias_accessed_at(?)", "cat-1.png"), NOON);
    }

    record Page(String prev, String next, List<List<Byte>> hashes) {
        static Page at(Connection db, String slug) throws SQLException {
            var row = row(db, "SELECT prev, next, hashes FROM pictrepo.hash_page(?, ?)", slug, 2);
            var hashes = ((List<?>) row.get(2)).stream().map(Client::bytes).toList();
            return new Page((String) row.get(0), (String) row.get(1), hashes);
        }
    }

    static void pages(Connection db, byte[] newest) throws Exception {
        var wanted = new ArrayList<>(List.of(bytes(newest)));
        for (int number = 4; number >= 0; number--) {
            var name = "page-" + number + ".png";
            var hash = makeHash(db, name);
            ingest(db, hash, name, name, NOON.plusMinutes(number));
            wanted.add(bytes(hash));
        }

        var page = Page.at(db, null);
        var first = page.hashes();
        var got = new ArrayList<>(first);
        while (page.next() != null) {
            page = Page.at(db, page.next());
            got.addAll(page.hashes());
        }
        check("hash_page: all hashes by its slugs, newest first", got, wanted);
        while (page.prev() != null) page = Page.at(db, page.prev());
        check("hash_page: prev leads back", page.hashes(), first);
    }

    static UUID push(Connection db, String queue, JsonObject job) throws SQLException {
        return value(db, "SELECT pictrepo.push(?, ?)", queue, job);
    }

    static String complete(Connection db, UUID worker, Object id) throws SQLException {
        return value(db, "SELECT pictrepo.complete_job(?, ?, ?, attempt => ?)", "jobs", worker, id, 1);
    }

    static List<Object> popWait(Connection db, UUID worker, Duration timeout) throws SQLException {
        return row(db, "CALL pictrepo.pop_wait(?, ?, ?)", "jobs", worker, timeout);
    }

    static void jobs(Connection db, ExecutorService threads) throws Exception {
        var worker = UUID.randomUUID();
        var pushed = push(db, "jobs", number(1));
        var job = row(db, "SELECT * FROM pictrepo.pop(?, ?)", "jobs", worker);
        var age = Duration.between((OffsetDateTime) job.get(3), OffsetDateTime.now());
        check("push, pop: the job, its attempt and its time",
            List.of(job.get(0), job.get(1), job.get(2), age.abs().toMinutes()), List.of(pushed, number(1), 1, 0L));
        complete(db, worker, pushed);

        meanwhile(threads, "SELECT pictrepo.push(?, ?)", "jobs", number(2));
        job = row(db, "SELECT id, job FROM pictrepo.pop(?, ?, wait => ?)", "jobs", worker, Duration.ofSeconds(10));
        check("pop with wait: what another connection pushes meanwhile", job.get(1), number(2));

        check("heartbeat: held",
            value(db, "SELECT pictrepo.heartbeat(?, ?, ?, ?)", "jobs", worker, job.get(0), 1), true);
        push(db, "jobs", number(3));
        job = row(db, "SELECT outcome, job, id FROM pictrepo.complete_and_pop(?, ?, ?)", "jobs", worker, job.get(0));
        check("complete_and_pop: completed, and the next job", job.subList(0, 2), List.of("completed", number(3)));
        check("complete_job: completed", complete(db, worker, job.get(2)), "completed");
        check("complete_job: lost the second time", complete(db, worker, job.get(2)), "lost");

        many(db, worker);

        check("pop_wait: NULLs when the time is up",
            popWait(db, worker, Duration.ofMillis(50)), Arrays.asList(null, null, null, null));
        push(db, "jobs", number(7));
        check("pop_wait: a job", popWait(db, worker, Duration.ofSeconds(10)).get(1), number(7));

        try (Connection listener = listen("queue_status_channel")) {
            push(db, "heard", number(8));
            check("LISTEN: the push is heard with its queue", hears(listener, " heard"), true);
        }
    }

    // Another connection makes a call when this one has begun to wait.
    static void meanwhile(ExecutorService threads, String sql, Object... parameters) {
        threads.submit(() -> {
            try (Connection other = connect("other")) {
                Thread.sleep(500);
                return value(other, sql, parameters);
            }
        });
    }

    static void many(Connection db, UUID worker) throws SQLException {
        List<UUID> ids = value(db, "SELECT pictrepo.push_many(?, ?, ?)", "jobs",
            new JsonElement[] {number(4), number(5), number(6)}, new String[] {"a", null, "a"});
        check("push_many: ids, and NULL where the key is held",
            ids.stream().map(Objects::nonNull).toList(), List.of(true, true, false));
        rows(db, "SELECT id FROM pictrepo.pop(?, ?, ?)", "jobs", worker, 10);
        check("complete_many: completed, and lost",
            value(db, "SELECT pictrepo.complete_many(?, ?, ?)", "jobs", worker,
                new UUID[] {ids.get(0), ids.get(1), worker}),
            List.of("completed", "completed", "lost"));
    }

    static Connection listen(String channel) throws SQLException {
        var db = connect("listener");
        execute(db, "LISTEN " + channel);
        return db;
    }

    static boolean hears(Connection listener, String ending) throws SQLException {
        while (true) {
            PGNotification[] notifications = listener.unwrap(PGConnection.class).getNotifications(10_000);
            if (notifications == null || notifications.length == 0) return false;
            for (var notification : notifications) {
                if (notification.getParameter().endsWith(ending)) return true;
            }
        }
    }

    static String claim(Connection db, byte[] hash, UUID worker) throws SQLException {
        return value(db, "SELECT pictrepo.claim_variant_processing_rights(?, ?, ?)", hash, "thumbnail", worker);
    }

    static void variants(Connection db, byte[] hash, ExecutorService threads) throws SQLException {
        UUID ours = UUID.randomUUID(), theirs = UUID.randomUUID();
        check("claim_variant_processing_rights: claimed, busy for another",
            List.of(claim(db, hash, ours), claim(db, hash, theirs)), List.of("claimed", "busy"));
        try (Connection listener = listen("keyed_notification_channel")) {
            meanwhile(threads, "SELECT pictrepo.finish_variant(?, ?, ?, ?, ?)",
                hash, "thumbnail", ours, "cat-128.webp", json("{'width': 128}"));
            check("finish_variant, variant_waiter: what one connection waits for while the other stores it",
                value(db, "SELECT pictrepo.variant_waiter(?, ?, ?)", hash, "thumbnail", Duration.ofSeconds(10)),
                "cat-128.webp");
            check("LISTEN: the variant is heard with its hash",
                hears(listener, Base64.getEncoder().encodeToString(hash) + "thumbnail"), true);
        }
        check("serve_variant: its file",
            row(db, "SELECT identifier, details, original_identifier FROM pictrepo.serve_variant(?, ?)",
                "cat-1.png", "thumbnail"),
            List.of("cat-128.webp", json("{'width': 128}"), "cat.png"));
    }

    static boolean claimUpload(Connection db, UUID upload) throws SQLException {
        return value(db, "SELECT pictrepo.claim(?)", upload);
    }

    static String delete(Connection db, String token) throws SQLException {
        return value(db, "SELECT pictrepo.delete_alias(?, ?)", "dog.png", token);
    }

    static void uploadAndDelete(Connection db, ExecutorService threads) throws Exception {
        var worker = UUID.randomUUID();
        UUID upload = value(db, "SELECT pictrepo.create_upload()");
        rows(db, "SELECT pictrepo.push(?, ?, upload => ?)",
            "process", json("{'Ingest': {'identifier': 'dog.png'}}"), upload);
        UUID job = value(db, "SELECT id FROM pictrepo.pop(?, ?)", "process", worker);
        try (Connection listener = listen("upload_completion_channel")) {
            meanwhile(threads, "SELECT outcome FROM pictrepo.finish_ingest(?, ?, ?, ?, ?, ?, ?, ?, ?)",
                "process", worker, job, upload, makeHash(db, "dog"), "dog.png", DETAILS, "dog.png", "token");
            check("finish_ingest, wait: what one connection waits for while the other brings it",
                value(db, "SELECT pictrepo.wait(?, ?)", upload, Duration.ofSeconds(10)),
                json("{'Success': {'alias': 'dog.png', 'token': 'token'}}"));
            check("LISTEN: the upload is heard", hears(listener, upload.toString()), true);
        }
        check("claim: once", List.of(claimUpload(db, upload), claimUpload(db, upload)), List.of(true, false));

        check("delete_alias: forbidden with another token", delete(db, "wrong"), "forbidden");
        check("delete_alias: deleted", delete(db, "token"), "deleted");
        var files = new ArrayList<String>();
        for (var row : rows(db, "SELECT job FROM pictrepo.pop(?, max_jobs => ?)", "cleanup", 10)) {
            files.add(((JsonObject) row.get(0)).getAsJsonObject("Identifier").get("identifier").getAsString());
        }
        check("cleanup: the files that nothing needs any more", files, List.of("again.png", "dog.png"));
    }

    static void fails(Connection db, String step, String sql, Object... parameters) {
        try {
            check(step, value(db, sql, parameters), "an error");
        } catch (SQLException error) {
            check(step, error.getSQLState(), step.substring(0, 5));
        }
    }

    static void errors(Connection db, byte[] hash) throws Exception {
        var createAlias = "SELECT pictrepo.create_alias(?, ?, ?)";
        fails(db, "22004: a hash that is NULL", createAlias, "new.png", "token", null);
        fails(db, "22023: a bad slug", "SELECT pictrepo.hash_page(?)", "no slug");
        fails(db, "22001: an alias that is too long", createAlias, "a".repeat(300), "token", hash);
        fails(db, "23503: an alias of an unknown hash", createAlias, "new.png", "token", makeHash(db, "unknown"));
        fails(db, "22P02: malformed JSON", "SELECT pictrepo.push(?, ?)", "jobs", typed("jsonb", "{"));
        fails(db, "42501: what takes an admin", "SELECT pictrepo.pause_queue(?)", "jobs");

        execute(db, "SET default_transaction_read_only = on");
        fails(db, "25006: a write while transactions are read-only", "SELECT pictrepo.push(?, ?)", "jobs", number(9));
        execute(db, "SET default_transaction_read_only = off");
        UUID upload = value(db, "SELECT pictrepo.create_upload()");
        claimUpload(db, upload);
        fails(db, "P0002: an upload that was claimed",
            "SELECT pictrepo.wait(?, ?)", upload, Duration.ofSeconds(10));
        execute(db, "BEGIN");
        fails(db, "2D000: pop_wait in a transaction", "CALL pictrepo.pop_wait(?)", "empty");
        execute(db, "ROLLBACK");
        execute(db, "SET statement_timeout = '100ms'");
        fails(db, "57014: a pop that waits for longer than statement_timeout",
            "SELECT pictrepo.pop(?, wait => ?)", "empty", Duration.ofSeconds(10));
        execute(db, "SET statement_timeout = 0");
        execute(db, "BEGIN ISOLATION LEVEL REPEATABLE READ");
        value(db, "SELECT pictrepo.get(?)", "bytes");
        try (Connection other = connect("other")) {
            execute(other, "SELECT pictrepo.create_hash('later', 'later.png')");
        }
        fails(db, "40001: an alias of a hash that is newer than the snapshot",
            "SELECT pictrepo.create_alias('later.png', 'token', 'later')");
        execute(db, "ROLLBACK");
        check("after errors: the connection goes on",
            value(db, "SELECT pictrepo.identifier(?)", hash), "cat.png");
    }

    public static void main(String[] arguments) throws Exception {
        var threads = Executors.newCachedThreadPool();
        try (Connection db = connect("client")) {
            var hash = makeHash(db, "cat");
            pictures(db, hash);
            pages(db, hash);
            jobs(db, threads);
            variants(db, hash, threads);
            uploadAndDelete(db, threads);
            errors(db, hash);
        } finally {
            threads.shutdownNow();
        }
    }
}
