package events

// Consumer is the name of the place that a user of the block events { } has in each stream: JetStream keeps there what it has
// acknowledged. It is made by the server, and there is no other.
func Consumer(user string) string { return "user-" + user }

// Inbox is the prefix of the only inbox that a user may listen on: nats.CustomInboxPrefix(events.Inbox("siem")).
func Inbox(user string) string { return "_INBOX_" + user }
