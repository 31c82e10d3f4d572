// The contract sallyport_1 for a plugin in AssemblyScript: one file, no package. ABI.md has it in words.
//
//   import * as sp from "./sallyport";
//   export { sallyport_abi_1 } from "./sallyport";
//
//   export function authenticate(): i32 {
//     return sp.text("user") == "alice" ? sp.ACCEPT : sp.UNKNOWN;
//   }
//
// asc mine.ts -o mine.wasm -O --runtime stub --use abort=sallyport/abort

// @ts-ignore: decorator
@external("sallyport_1", "get") declare function hostGet(key: usize, keyLen: i32, buf: usize, cap: i32): i32;
// @ts-ignore: decorator
@external("sallyport_1", "set") declare function hostSet(key: usize, keyLen: i32, val: usize, len: i32): i32;
// @ts-ignore: decorator
@external("sallyport_1", "log") declare function hostLog(level: i32, message: usize, len: i32): void;
// @ts-ignore: decorator
@external("sallyport_1", "http") declare function hostHttp(): i32;
// @ts-ignore: decorator
@external("sallyport_1", "sleep") declare function hostSleep(ms: u32): i32;
// @ts-ignore: decorator
@external("sallyport_1", "verify") declare function hostVerify(what: usize, len: i32): i32;
// @ts-ignore: decorator
@external("sallyport_1", "ask") declare function hostAsk(): i32;

// Verdicts.
export const FAIL: i32 = 0;
export const ACCEPT: i32 = 1;
export const REJECT: i32 = 2;
export const UNKNOWN: i32 = 3;

// Answers that are no success.
export const ABSENT: i32 = -1;
export const NOT_GRANTED: i32 = -2;
export const BAD_POINTER: i32 = -3;
export const OVER_LIMIT: i32 = -4;
export const UNKNOWN_KEY: i32 = -5;
export const FAILED: i32 = -6;
export const BAD_STATE: i32 = -7;
export const GIVEN_UP: i32 = -9; // nobody waits any more: clean up, with at most two requests, and return

// Answers of verifyPassword.
export const WRONG: i32 = 0;
export const RIGHT: i32 = 1;
export const NOT_ENROLLED: i32 = 2;

// Levels of log.
export const DEBUG: i32 = 0;
export const INFO: i32 = 1;
export const WARN: i32 = 2;
export const ERROR: i32 = 3;

/** Says which contract this is written for: the plugin's own file exports it again. */
export function sallyport_abi_1(): void {}

/** A field as text; null if it is not there or not granted. */
export function get(key: string): string | null {
  const k = String.UTF8.encode(key);
  let buf = new ArrayBuffer(256);
  while (true) {
    const n = hostGet(changetype<usize>(k), k.byteLength, changetype<usize>(buf), buf.byteLength);
    if (n < 0) return null;
    if (n <= buf.byteLength) return String.UTF8.decodeUnsafe(changetype<usize>(buf), n);
    buf = new ArrayBuffer(n);
  }
}

/** A field as text, empty if it is not there. */
export function text(key: string): string {
  const value = get(key);
  return value === null ? "" : value;
}

/** One setting as text, empty if it is not set. */
export function setting(name: string): string {
  return text("settings." + name);
}

/** Sets a field that the table in ABI.md lets a plugin set. 0, or negative. */
export function set(key: string, value: string): i32 {
  const k = String.UTF8.encode(key);
  const v = String.UTF8.encode(value);
  return hostSet(changetype<usize>(k), k.byteLength, changetype<usize>(v), v.byteLength);
}

/** One line for the host's log. */
export function log(level: i32, message: string): void {
  const m = String.UTF8.encode(message);
  hostLog(level, changetype<usize>(m), m.byteLength);
}

/** Sends what was set as http.request.*: the status, or negative. */
export function http(): i32 {
  return hostHttp();
}

/** One value of the JSON answer by its pointer, such as "/status"; null if it is not there. */
export function json(pointer: string): string | null {
  return get("http.response.json:" + pointer);
}

/** Waits without keeping anything of the host busy. 0, or GIVEN_UP. */
export function sleep(ms: u32): i32 {
  return hostSleep(ms);
}

/** Lets the host check the password, which the plugin never sees. */
export function verifyPassword(): i32 {
  const what = String.UTF8.encode("password");
  return hostVerify(changetype<usize>(what), what.byteLength);
}

/** Asks an approver of the host: 1 yes, 0 no, or negative. */
export function ask(prompt: string): i32 {
  const rc = set("ask.prompt", prompt);
  return rc < 0 ? rc : hostAsk();
}

/** Whom the request goes to, as the other system calls them; before it is sent. No other login asks them meanwhile. */
export function claim(person: string): void {
  set("approval.person", person);
}

/** Tells how far a request is that a person answers. */
export function approval(state: string, ref: string, prompt: string): void {
  set("approval.ref", ref);
  set("approval.prompt", prompt);
  set("approval", state);
}

/** Rejects with a reason from the list in ABI.md. */
export function reject(reason: string): i32 {
  set("reason", reason);
  return REJECT;
}

/** Says why it can't decide. */
export function fail(message: string): i32 {
  log(ERROR, message);
  return FAIL;
}

/** What the compiler calls for a failed assertion or an error. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  log(ERROR, "panic: " + (message === null ? "abort" : message) + " (" + (file === null ? "?" : file) + ":" + line.toString() + ")");
  unreachable();
}
