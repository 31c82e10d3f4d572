// A subscriber in Node.js: it prints who logged in and who was refused, as it happens, and goes on where it stopped.
//
//   npm install && node main.js ../../../data/private/subscriber.nk
import { readFileSync } from "node:fs";
import { connect, nkeyAuthenticator } from "nats";

const [seedFile, servers = "nats://127.0.0.1:4222", user = "subscriber"] = process.argv.slice(2);
if (!seedFile) {
  console.error("usage: node main.js SEED_FILE [URL] [USER]");
  process.exit(2);
}
const seed = new TextEncoder().encode(readFileSync(seedFile, "utf8").trim());
const conn = await connect({
  servers,
  authenticator: nkeyAuthenticator(seed),
  inboxPrefix: `_INBOX_${user}`, // a user may listen on no other
  maxReconnectAttempts: -1,
});
const js = conn.jetstream();

const show = {
  "login.accepted": (d) => `${d.user} logged in from ${d.peer} (${d.method})`,
  "login.refused": (d) => `${d.user ?? "somebody"} was refused from ${d.peer}: ${d.reason}`,
};

async function read(stream) {
  const consumer = await js.consumers.get(stream, `user-${user}`);
  for await (const message of await consumer.consume()) {
    const type = message.headers.get("ce-type").replace("sallyport.v1.", "");
    const text = show[type]?.(message.json()) ?? type;
    console.log(`${message.headers.get("ce-time")}  ${text}`);
    message.ack(); // else it comes again
  }
}

console.log("subscribed");
await Promise.all(["audit", "refusals", "activity"].map(read));
