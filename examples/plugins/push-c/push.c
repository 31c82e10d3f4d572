/* A second factor that asks a person: requests an approval from a web service, waits for it, and
 * takes the request back if nobody waits any more. */
#include "sallyport.h"

SP_PLUGIN

SP_EXPORT(describe) void describe(void) {
	sp_set_text("describe.name", "push");
	sp_set_text("describe.version", "1.0");
	sp_set_text("describe.setting.url", "string required; base URL of the approval service");
	sp_set_text("describe.setting.timeout", "number; seconds that a person has, 60 if not set");
	sp_set_text("describe.need.http", "settings.url");
	sp_set_text("describe.need.secrets", "token");
}

static char url[600]; /* of the service, then of the request */

static int send(const char *method) {
	sp_set_text("http.request.method", method);
	sp_set_text("http.request.url", url);
	sp_set_text("http.request.header.Authorization@", "secret.token");
	return sp_http();
}

/* Takes the request back. */
static void withdraw(const char *state, const char *id) {
	sp_set_text("http.request.withdraw", "true");
	send("DELETE");
	if (state) sp_set_text("approval.ref", id), sp_set_text("approval", state);
}

SP_EXPORT(authenticate) int authenticate(void) {
	char base[256], id[128], text[128], path[160];
	if (sp_get_text("settings.url", base, sizeof base) < 0 || !sp_join(url, sizeof url, base, "/requests")) return sp_fail("settings.url is too long");
	sp_set_text("http.request.form.user@", "user");
	int status = send("POST");
	if (status == 404) return SP_UNKNOWN;
	if (status != 201 || sp_get_text("http.response.json:/id", id, sizeof id) <= 0) return sp_fail("the approval service did not take the request");
	sp_set_text("approval.ref", id);
	if (sp_get_text("http.response.json:/prompt", text, sizeof text) > 0) sp_set_text("approval.prompt", text);
	sp_set_text("approval", "requested");
	if (!sp_join(path, sizeof path, "/requests/", id) || !sp_join(url, sizeof url, base, path)) return sp_fail("the id is too long");

	long left = sp_get_number("settings.timeout", 60);
	for (; left > 0; left -= 5) {
		int rc = sp_sleep(5000);
		if (rc == 0) rc = send("GET");
		if (rc == SP_GIVEN_UP) return withdraw(0, id), SP_FAIL;
		if (rc != 200 || sp_get_text("http.response.json:/status", text, sizeof text) < 0) {
			withdraw(0, id);
			return sp_fail("the approval service gave no status");
		}
		if (sp_same(text, "approved")) return sp_set_text("approval", "approved"), SP_ACCEPT;
		if (sp_same(text, "denied")) return sp_set_text("approval", "denied"), sp_reject("rejected");
	}
	withdraw("expired", id);
	return sp_reject("rejected");
}
