/* The contract sallyport_1 for a plugin in C: one file, no library. ABI.md has it in words.
 *
 *   #include "sallyport.h"
 *
 *   SP_PLUGIN
 *
 *   SP_EXPORT(authenticate) int authenticate(void) {
 *       char user[256];
 *       if (sp_get_text("user", user, sizeof user) < 0) return SP_FAIL;
 *       return sp_same(user, "alice") ? SP_ACCEPT : SP_UNKNOWN;
 *   }
 *
 * clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry -o mine.wasm mine.c
 */
#ifndef SALLYPORT_H
#define SALLYPORT_H

#define SP_IMPORT(name) __attribute__((import_module("sallyport_1"), import_name(#name)))
#define SP_EXPORT(name) __attribute__((export_name(#name)))

/* Says which contract this is written for. Once in a plugin. */
#define SP_PLUGIN SP_EXPORT(sallyport_abi_1) void sallyport_abi_1(void) {}

/* Verdicts. */
enum { SP_FAIL = 0, SP_ACCEPT = 1, SP_REJECT = 2, SP_UNKNOWN = 3 };

/* Answers that are no success. */
enum {
	SP_ABSENT = -1,
	SP_NOT_GRANTED = -2,
	SP_BAD_POINTER = -3,
	SP_OVER_LIMIT = -4,
	SP_UNKNOWN_KEY = -5,
	SP_FAILED = -6,
	SP_BAD_STATE = -7,
	SP_GIVEN_UP = -9, /* nobody waits any more: clean up, with at most two requests, and return */
};

enum { SP_WRONG = 0, SP_RIGHT = 1, SP_NOT_ENROLLED = 2 }; /* of sp_verify */
enum { SP_DEBUG = 0, SP_INFO = 1, SP_WARN = 2, SP_ERROR = 3 };

/* The imports as they are; lengths are in bytes. */
SP_IMPORT(get) int sp_host_get(const void *key, unsigned key_len, void *buf, unsigned cap);
SP_IMPORT(set) int sp_host_set(const void *key, unsigned key_len, const void *val, unsigned len);
SP_IMPORT(log) void sp_host_log(int level, const void *message, unsigned len);
SP_IMPORT(http) int sp_http(void);            /* the status, or negative */
SP_IMPORT(sleep) int sp_sleep(unsigned ms);   /* 0 or SP_GIVEN_UP */
SP_IMPORT(verify) int sp_host_verify(const void *what, unsigned len);
SP_IMPORT(ask) int sp_ask(void);              /* 1 yes, 0 no, or negative */
SP_IMPORT(dial) int sp_host_dial(const void *address, unsigned len);
SP_IMPORT(start_tls) int sp_host_start_tls(int fd, const void *name, unsigned len);

static inline unsigned sp_len(const char *s) {
	unsigned n = 0;
	while (s[n]) n++;
	return n;
}

static inline int sp_same(const char *a, const char *b) {
	while (*a && *a == *b) a++, b++;
	return *a == *b;
}

/* Puts a field into buf as text with a zero at its end. Its length, or negative; SP_OVER_LIMIT if it
 * does not fit. */
static inline int sp_get_text(const char *key, char *buf, unsigned cap) {
	int n = sp_host_get(key, sp_len(key), buf, cap ? cap - 1 : 0);
	if (cap == 0 || n >= (int)cap) return SP_OVER_LIMIT;
	buf[n < 0 ? 0 : n] = 0;
	return n;
}

static inline int sp_set_text(const char *key, const char *value) { return sp_host_set(key, sp_len(key), value, sp_len(value)); }
static inline void sp_log(int level, const char *message) { sp_host_log(level, message, sp_len(message)); }
static inline int sp_verify(const char *what) { return sp_host_verify(what, sp_len(what)); }
static inline int sp_dial(const char *address) { return sp_host_dial(address, sp_len(address)); }
static inline int sp_start_tls(int fd, const char *name) { return sp_host_start_tls(fd, name, sp_len(name)); }

/* Writes a and b one after the other into buf. Zero if they don't fit. */
static inline int sp_join(char *buf, unsigned cap, const char *a, const char *b) {
	unsigned n = 0;
	for (; *a && n < cap; a++) buf[n++] = *a;
	for (; *b && n < cap; b++) buf[n++] = *b;
	if (n >= cap) return 0;
	buf[n] = 0;
	return 1;
}

/* The number in a field of digits, or otherwise. */
static inline long sp_get_number(const char *key, long otherwise) {
	char text[16];
	int n = sp_get_text(key, text, sizeof text);
	long value = 0;
	if (n <= 0 || n > 9) return otherwise;
	for (int i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9') return otherwise;
		value = value * 10 + (text[i] - '0');
	}
	return value;
}

/* Rejects with a reason from the list in ABI.md. */
static inline int sp_reject(const char *reason) {
	sp_set_text("reason", reason);
	return SP_REJECT;
}

/* Says why it can't decide. */
static inline int sp_fail(const char *message) {
	sp_log(SP_ERROR, message);
	return SP_FAIL;
}

#endif
