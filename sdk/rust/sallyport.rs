//! The contract sallyport_1 for a plugin in Rust: one file, no crate. ABI.md has it in words.
//!
//! ```ignore
//! mod sallyport;
//! use sallyport::{Attempt, Verdict};
//!
//! sallyport::plugin!(authenticate);
//!
//! fn authenticate(a: &Attempt) -> Verdict {
//!     if a.user() == "alice" { Verdict::Accept } else { Verdict::Unknown }
//! }
//! ```
//!
//! rustc --target wasm32-unknown-unknown --crate-type cdylib -O -C panic=abort -o mine.wasm mine.rs
#![allow(dead_code)]

#[link(wasm_import_module = "sallyport_1")]
extern "C" {
    fn get(key: *const u8, key_len: usize, buf: *mut u8, cap: usize) -> i32;
    fn set(key: *const u8, key_len: usize, val: *const u8, len: usize) -> i32;
    fn log(level: i32, message: *const u8, len: usize);
    fn http() -> i32;
    fn sleep(ms: u32) -> i32;
    fn verify(what: *const u8, len: usize) -> i32;
    fn ask() -> i32;
    fn dial(address: *const u8, len: usize) -> i32;
    fn start_tls(fd: i32, name: *const u8, len: usize) -> i32;
}

/// What a plugin says of an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(i32)]
pub enum Verdict {
    Fail = 0,
    Accept = 1,
    Reject = 2,
    Unknown = 3,
}

/// Why the host did not do something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Error {
    Absent,
    NotGranted,
    BadPointer,
    OverLimit,
    UnknownKey,
    Failed,
    BadState,
    /// Nobody waits for the verdict any more: clean up, with at most two requests, and return.
    GivenUp,
}

fn check(code: i32) -> Result<i32, Error> {
    Err(match code {
        0.. => return Ok(code),
        -1 => Error::Absent,
        -2 => Error::NotGranted,
        -3 => Error::BadPointer,
        -4 => Error::OverLimit,
        -5 => Error::UnknownKey,
        -7 => Error::BadState,
        -9 => Error::GivenUp,
        _ => Error::Failed,
    })
}

/// The urgency of a log line.
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum Level {
    Debug = 0,
    Info = 1,
    Warn = 2,
    Error = 3,
}

/// The host's answer to verify_password.
#[derive(Clone, Copy, PartialEq)]
pub enum Check {
    Wrong,
    Right,
    NotEnrolled,
}

/// One login try.
pub struct Attempt(());

impl Attempt {
    /// For plugin!.
    pub fn new() -> Self {
        std::panic::set_hook(Box::new(|p| Attempt(()).log(Level::Error, &format!("panic: {}", p))));
        Attempt(())
    }

    /// The canonical user name.
    pub fn user(&self) -> String {
        self.text("user")
    }

    /// One setting as text, empty if it is not set.
    pub fn setting(&self, name: &str) -> String {
        self.text(&format!("settings.{}", name))
    }

    /// Any field of the table in ABI.md, as text.
    pub fn get(&self, key: &str) -> Result<String, Error> {
        let mut buf = vec![0; 256];
        loop {
            let n = check(unsafe { get(key.as_ptr(), key.len(), buf.as_mut_ptr(), buf.len()) })? as usize;
            if n <= buf.len() {
                buf.truncate(n);
                return Ok(String::from_utf8_lossy(&buf).into_owned());
            }
            buf.resize(n, 0);
        }
    }

    /// A field as text, empty if it is not there.
    pub fn text(&self, key: &str) -> String {
        self.get(key).unwrap_or_default()
    }

    /// Sets a field that the table in ABI.md lets a plugin set.
    pub fn set(&self, key: &str, value: &str) -> Result<(), Error> {
        check(unsafe { set(key.as_ptr(), key.len(), value.as_ptr(), value.len()) }).map(|_| ())
    }

    /// One line for the host's log.
    pub fn log(&self, level: Level, message: &str) {
        unsafe { log(level as i32, message.as_ptr(), message.len()) }
    }

    /// Sends an HTTP request: names and values of http.request.* without that prefix. A name that ends
    /// in @ takes the name of a field. Returns the status; the answer is in http.response.*.
    pub fn http(&self, request: &[(&str, &str)]) -> Result<i32, Error> {
        for (name, value) in request {
            self.set(&format!("http.request.{}", name), value)?;
        }
        check(unsafe { http() })
    }

    /// One value of the JSON answer by its pointer, such as "/status".
    pub fn json(&self, pointer: &str) -> Option<String> {
        self.get(&format!("http.response.json:{}", pointer)).ok()
    }

    /// Waits without keeping anything of the host busy.
    pub fn sleep(&self, ms: u32) -> Result<(), Error> {
        check(unsafe { sleep(ms) }).map(|_| ())
    }

    /// Lets the host check the password, which the plugin never sees.
    pub fn verify_password(&self) -> Result<Check, Error> {
        let what = "password";
        Ok(match check(unsafe { verify(what.as_ptr(), what.len()) })? {
            1 => Check::Right,
            2 => Check::NotEnrolled,
            _ => Check::Wrong,
        })
    }

    /// Asks an approver of the host, and waits for the decision.
    pub fn ask(&self, prompt: &str) -> Result<bool, Error> {
        self.set("ask.prompt", prompt)?;
        check(unsafe { ask() }).map(|answer| answer == 1)
    }

    /// Says whom the request goes to, as the other system calls them, before it is sent: no other login asks them meanwhile.
    pub fn claim(&self, person: &str) -> Result<(), Error> {
        self.set("approval.person", person)
    }

    /// Tells how far a request is that a person answers.
    pub fn approval(&self, state: &str, reference: &str, prompt: &str) -> Result<(), Error> {
        self.set("approval.ref", reference)?;
        self.set("approval.prompt", prompt)?;
        self.set("approval", state)
    }

    /// Opens a connection; the descriptor is a WASI socket (target wasm32-wasi).
    pub fn dial(&self, address: &str) -> Result<i32, Error> {
        check(unsafe { dial(address.as_ptr(), address.len()) })
    }

    /// Puts TLS on a connection; an empty name is the host that was dialled.
    pub fn start_tls(&self, fd: i32, name: &str) -> Result<(), Error> {
        check(unsafe { start_tls(fd, name.as_ptr(), name.len()) }).map(|_| ())
    }

    /// Rejects with a reason from the list in ABI.md.
    pub fn reject(&self, reason: &str) -> Verdict {
        let _ = self.set("reason", reason);
        Verdict::Reject
    }

    /// Says why it can't decide.
    pub fn fail(&self, message: &str) -> Verdict {
        self.log(Level::Error, message);
        Verdict::Fail
    }
}

/// Exports a function (&Attempt) -> Verdict as the plugin, and if given, one (&Attempt) that describes it.
#[macro_export]
macro_rules! plugin {
    ($authenticate:path) => {
        #[no_mangle]
        pub extern "C" fn sallyport_abi_1() {}

        /// Makes room before the host keeps an image of the memory: one that grows in a run can't be
        /// used again.
        #[no_mangle]
        pub extern "C" fn _initialize() {
            let mut room = Vec::<u8>::with_capacity(1 << 18);
            unsafe { std::ptr::write_volatile(room.as_mut_ptr(), 0) }; // else the compiler leaves it out
        }

        #[export_name = "authenticate"]
        pub extern "C" fn sallyport_authenticate() -> i32 {
            $authenticate(&$crate::sallyport::Attempt::new()) as i32
        }
    };
    ($authenticate:path, $describe:path) => {
        $crate::plugin!($authenticate);

        #[export_name = "describe"]
        pub extern "C" fn sallyport_describe() {
            $describe(&$crate::sallyport::Attempt::new())
        }
    };
}
