-- Notifications that wait for the background worker.

CREATE TABLE pictrepo.prepared_notifications (
	id uuid PRIMARY KEY,
	channel text NOT NULL,
	payload text NOT NULL
);
COMMENT ON TABLE pictrepo.prepared_notifications IS
	'notifications of prepared transactions. After COMMIT PREPARED, the background worker sends and deletes them';
COMMENT ON COLUMN pictrepo.prepared_notifications.id IS 'id of the notification; ids sort by time';
COMMENT ON COLUMN pictrepo.prepared_notifications.channel IS 'name of the channel';
COMMENT ON COLUMN pictrepo.prepared_notifications.payload IS 'payload of the notification';
