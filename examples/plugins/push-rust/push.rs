//! A second factor that asks a person: requests an approval from a web service, waits for it, and
//! takes the request back if nobody waits any more.
mod sallyport;

use sallyport::{Attempt, Error, Verdict};

plugin!(authenticate, describe);

fn describe(a: &Attempt) {
    let fields = [
        ("describe.name", "push"),
        ("describe.version", "1.0"),
        ("describe.setting.url", "string required; base URL of the approval service"),
        ("describe.setting.timeout", "number; seconds that a person has, 60 if not set"),
        ("describe.need.http", "settings.url"),
        ("describe.need.secrets", "token"),
    ];
    for (key, value) in fields {
        let _ = a.set(key, value);
    }
}

/// Marks a request that is sent although the attempt was given up.
const WITHDRAW: &[(&str, &str)] = &[("withdraw", "true")];

fn authenticate(a: &Attempt) -> Verdict {
    let base = a.setting("url") + "/requests";
    match send(a, "POST", &base, &[("form.user@", "user")]) {
        Ok(404) => return Verdict::Unknown,
        Ok(201) => {}
        _ => return a.fail("the approval service did not take the request"),
    }
    let id = match a.json("/id") {
        Some(id) if !id.is_empty() => id,
        _ => return a.fail("the approval service did not take the request"),
    };
    let prompt = a.json("/prompt").unwrap_or_default();
    let _ = a.approval("requested", &id, &prompt);
    let url = format!("{}/{}", base, id);

    let mut left: i64 = a.setting("timeout").parse().unwrap_or(60);
    while left > 0 {
        left -= 5;
        match a.sleep(5000).and_then(|_| send(a, "GET", &url, &[])) {
            Ok(200) => {}
            Err(Error::GivenUp) => {
                let _ = send(a, "DELETE", &url, WITHDRAW);
                return Verdict::Fail;
            }
            _ => return withdrawn(a, &url),
        }
        match a.json("/status").as_deref() {
            Some("approved") => {
                let _ = a.approval("approved", &id, &prompt);
                return Verdict::Accept;
            }
            Some("denied") => {
                let _ = a.approval("denied", &id, &prompt);
                return a.reject("rejected");
            }
            Some(_) => {}
            None => return withdrawn(a, &url),
        }
    }
    let _ = send(a, "DELETE", &url, WITHDRAW);
    let _ = a.approval("expired", &id, &prompt);
    a.reject("rejected")
}

fn withdrawn(a: &Attempt, url: &str) -> Verdict {
    let _ = send(a, "DELETE", url, WITHDRAW);
    a.fail("the approval service gave no status")
}

fn send(a: &Attempt, method: &str, url: &str, more: &[(&str, &str)]) -> Result<i32, Error> {
    let mut request = vec![("method", method), ("url", url), ("header.Authorization@", "secret.token")];
    request.extend_from_slice(more);
    a.http(&request)
}
