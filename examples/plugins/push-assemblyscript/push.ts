// A second factor that asks a person: requests an approval from a web service, waits for it, and
// takes the request back if nobody waits any more.
import * as sp from "./sallyport";
export { sallyport_abi_1 } from "./sallyport";

export function describe(): void {
  sp.set("describe.name", "push");
  sp.set("describe.version", "1.0");
  sp.set("describe.setting.url", "string required; base URL of the approval service");
  sp.set("describe.setting.timeout", "number; seconds that a person has, 60 if not set");
  sp.set("describe.need.http", "settings.url");
  sp.set("describe.need.secrets", "token");
}

export function authenticate(): i32 {
  const base = sp.setting("url") + "/requests";
  sp.set("http.request.form.user@", "user");
  const status = send("POST", base);
  if (status == 404) return sp.UNKNOWN;
  const id = status == 201 ? sp.json("/id") : null;
  if (id === null || id == "") return sp.fail("the approval service did not take the request");
  const prompt = sp.text("http.response.json:/prompt");
  sp.approval("requested", id, prompt);
  const url = base + "/" + id;

  const timeout = sp.setting("timeout");
  for (let left = timeout == "" ? 60 : I32.parseInt(timeout); left > 0; left -= 5) {
    let rc = sp.sleep(5000);
    if (rc == 0) rc = send("GET", url);
    if (rc == sp.GIVEN_UP) {
      send("DELETE", url);
      return sp.FAIL;
    }
    const answer = rc == 200 ? sp.json("/status") : null;
    if (answer === null) {
      send("DELETE", url);
      return sp.fail("the approval service gave no status");
    }
    if (answer == "approved") {
      sp.approval("approved", id, prompt);
      return sp.ACCEPT;
    }
    if (answer == "denied") {
      sp.approval("denied", id, prompt);
      return sp.reject("rejected");
    }
  }
  send("DELETE", url);
  sp.approval("expired", id, prompt);
  return sp.reject("rejected");
}

function send(method: string, url: string): i32 {
  if (method == "DELETE") sp.set("http.request.withdraw", "true"); // sent although the attempt was given up
  sp.set("http.request.method", method);
  sp.set("http.request.url", url);
  sp.set("http.request.header.Authorization@", "secret.token");
  return sp.http();
}
