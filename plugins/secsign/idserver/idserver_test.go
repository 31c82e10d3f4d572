package idserver

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

// client talks to a server on both wires, at a time that the test sets.
type client struct {
	*testing.T
	server *Server
	web    *httptest.Server
	now    time.Time
}

func newClient(t *testing.T, change ...func(*Options)) *client {
	c := &client{T: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	o := Options{Now: func() time.Time { return c.now }, Random: rand.NewChaCha8([32]byte{1}), Account: "ftp", Password: "pin", CreatesIDs: true}
	for _, f := range change {
		f(&o)
	}
	c.server = New(o, "alice", "bob")
	c.web = httptest.NewServer(c.server.Handler())
	t.Cleanup(c.web.Close)
	return c
}

// post makes a call of the legacy API. Answers are split as clients do.
func (c *client) post(pairs ...string) map[string]string {
	c.Helper()
	form := url.Values{"apimethod": {"test"}}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	r, err := http.PostForm(c.web.URL+"/", form)
	if err != nil {
		c.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	body, _ := io.ReadAll(r.Body)
	answer := map[string]string{"status": r.Status[:3]}
	for _, part := range strings.Split(string(body), "&") {
		key, value, _ := strings.Cut(part, "=")
		answer[key] = value
	}
	return answer
}

func (c *client) begin(id string, more ...string) map[string]string {
	c.Helper()
	return c.post(append([]string{"request", "ReqRequestAuthSession", "secsignid", id, "servicename", "A + B", "serviceaddress", "x"}, more...)...)
}

func (c *client) ofSession(request string, begun map[string]string) map[string]string {
	c.Helper()
	return c.post("request", request, "secsignid", begun["secsignid"], "authsessionid", begun["authsessionid"], "requestid", begun["requestid"])
}

func (c *client) state(begun map[string]string) string {
	c.Helper()
	return c.ofSession("ReqGetAuthSessionState", begun)["authsessionstate"]
}

func TestLegacy(t *testing.T) {
	c := newClient(t)
	begun := c.begin("Alice")
	if begun["secsignid"] != "alice" || begun["authsessionstate"] != "1" || len(begun["requestid"]) != 64 || begun["servicename"] != "A + B" || begun["authsessionicondata"] == "" {
		t.Errorf("got %q", begun)
	}
	if got := c.begin("bob", "showaccesspass", "false"); got["authsessionicondata"] != "" {
		t.Error("a picture although none is shown")
	}
	if got := c.begin("nobody"); got["errorcode"] != "20000" || got["error"] != "500" {
		t.Errorf("unknown: %q", got)
	}
	other := map[string]string{"secsignid": "alice", "authsessionid": begun["authsessionid"], "requestid": strings.Repeat("0", 64)}
	if got := c.ofSession("ReqGetAuthSessionState", other); got["error"] != "400" {
		t.Errorf("with another request ID: %q", got)
	}
	c.now = c.now.Add(120 * time.Second)
	if got := c.state(begun); got != "2" {
		t.Errorf("after its lifetime: %q", got)
	}
	c.now = c.now.Add(60 * time.Second)
	if got := c.ofSession("ReqGetAuthSessionState", begun); got["error"] != "400" {
		t.Errorf("after retention: %q", got)
	}
	begun = c.begin("alice")
	if err := c.server.Answer(c.server.Open()[0].ID, Denied); err != nil {
		t.Fatal(err)
	}
	if got := c.ofSession("ReqCancelAuthSession", begun); got["authsessionstate"] != "6" {
		t.Errorf("cancel of a denied session: %q", got)
	}
	for _, call := range []string{"ReqGetAuthSessionState", "ReqCancelAuthSession", "ReqReleaseAuthSession"} {
		if got := c.ofSession(call, begun); got["error"] != "400" {
			t.Errorf("%s after cancel: %q", call, got)
		}
	}
}

func TestStrictParameters(t *testing.T) {
	c := newClient(t, func(o *Options) { o.ErrorStatus = 400 })
	for name, pairs := range map[string][]string{
		"unknown parameter": {"request", "ReqRequestAuthSession", "secsignid", "alice", "servicename", "a", "serviceaddress", "b", "scriptversion", "1"},
		"one is missing":    {"request", "ReqRequestAuthSession", "secsignid", "alice", "servicename", "a"},
		"one is empty":      {"request", "ReqRequestAuthSession", "secsignid", "alice", "servicename", "a", "serviceaddress", ""},
		"one is there twice": {
			"request", "ReqRequestAuthSession", "secsignid", "alice", "secsignid", "alice", "servicename", "a", "serviceaddress", "b",
		},
		"an ID that is none":   {"request", "ReqRequestAuthSession", "secsignid", "a&b", "servicename", "a", "serviceaddress", "b"},
		"a name too long":      {"request", "ReqRequestAuthSession", "secsignid", "alice", "servicename", strings.Repeat("a", 256), "serviceaddress", "b"},
		"neither true nor not": {"request", "ReqRequestAuthSession", "secsignid", "alice", "servicename", "a", "serviceaddress", "b", "showaccesspass", "1"},
		"no such request":      {"request", "ReqReleaseAuthSession", "secsignid", "alice"},
	} {
		if got := c.post(pairs...); got["error"] != "400" || got["status"] != "400" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if n := len(c.server.Sessions()); n != 0 {
		t.Errorf("%d sessions", n)
	}
}

func TestSuspendAndFreeze(t *testing.T) {
	c := newClient(t)
	first, second := c.begin("alice"), c.begin("alice")
	if c.state(first) != "5" || c.state(second) != "1" {
		t.Errorf("states %s, %s", c.state(first), c.state(second))
	}
	if got := c.begin("alice"); got["errorcode"] != "20006" || !c.server.Frozen("alice") {
		t.Errorf("the third: %q", got)
	}
	c.server.SetFrozen("alice", false)
	if got := c.begin("alice"); got["authsessionstate"] != "1" {
		t.Errorf("after it was tapped: %q", got)
	}
}

func TestPriorityCode(t *testing.T) {
	c := newClient(t)
	c.server.SetPriority("bob", "alice")
	if got := c.ofSession("ReqGetAuthSessionState", c.begin("bob")); got["secsignid"] != "alice" {
		t.Errorf("got %q", got)
	}
}

func TestCancelApproved(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		c := newClient(t, func(o *Options) { o.CancelApproved = allowed })
		c.server.SetRule("alice", &Rule{State: Authenticated})
		begun := c.begin("alice")
		if got := c.ofSession("ReqCancelAuthSession", begun)["authsessionstate"] == "6"; got != allowed {
			t.Errorf("cancelled: %v, want %v", got, allowed)
		}
	}
}

// call makes a REST call with JSON, or with a form.
func (c *client) call(method, path, kind, body string) (int, map[string]any) {
	c.Helper()
	r, err := http.NewRequest(method, c.web.URL+path, strings.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	r.SetBasicAuth("ftp", "pin")
	r.Header.Set("Content-Type", kind)
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		c.Fatal(err)
	}
	defer func() { _ = got.Body.Close() }()
	var answer map[string]any
	if err := json.NewDecoder(got.Body).Decode(&answer); err != nil {
		c.Errorf("%s %s: %v", method, path, err)
	}
	return got.StatusCode, answer
}

func TestREST(t *testing.T) {
	c := newClient(t)
	const asJSON, asForm = "application/json", "application/x-www-form-urlencoded"
	want := func(status int, key string, value any, method, path, kind, body string) {
		t.Helper()
		got, answer := c.call(method, path, kind, body)
		if got != status || key != "" && answer[key] != value {
			t.Errorf("%s %s: %d %v; want %d, %s = %v", method, path, got, answer, status, key, value)
		}
	}
	want(200, "exist", true, "GET", "/rest/v2/SecSignId/Alice?exist", "", "")
	want(200, "exist", false, "GET", "/rest/v2/SecSignId/carol?exist", "", "")
	want(200, "", nil, "POST", "/rest/v2/SecSignId/", asJSON, `{"secsignid":"Carol","email":"c@example.org","enable":"true"}`)
	want(400, "", nil, "POST", "/rest/v2/SecSignId/", asJSON, `{"secsignid":"carol","email":"c@example.org","enable":"true"}`)
	want(200, "", nil, "POST", "/rest/v2/SecSignId/", asForm, "secsignid=dave&email=d@example.org&enable=true")
	want(400, "", nil, "POST", "/rest/v2/SecSignId/", asForm, "secsignid=eve&secsignid=mallory&email=d@example.org&enable=true")
	want(200, "exist", true, "GET", "/rest/v2/SecSignId/carol?exist", "", "")
	want(200, "count", 0.0, "GET", "/rest/v1/Device/carol/Count", "", "")
	want(200, "count", 1.0, "GET", "/rest/v1/Device/alice/Count", "", "")
	want(404, "", nil, "GET", "/rest/v1/Device/nobody/Count", "", "")
	want(200, "patchVersion", 5.0, "GET", "/rest/v2/PluginRegistration/ServerInfo", "", "")
	want(200, "accountName", "ftp", "POST", "/rest/v2/PluginRegistration", asJSON, `{"url":"u","siteName":"s","pluginName":"p","pluginType":"t"}`)
	want(404, "", nil, "POST", "/rest/v2/FIDO/Register/Start", asJSON, `{}`)
	want(409, "", nil, "GET", "/rest/v2/AuthSession?servicename=a&serviceaddress=b&secsignid="+c.frozen(), "", "")
	want(400, "", nil, "GET", "/rest/v2/AuthSession?secsignid=alice&servicename=a", "", "")
	if _, got := c.call("GET", "/rest/v2/SecSignId/new?createqrcode", "", ""); got["qrcodebase64"] == "" || got["createurl"] == "" {
		t.Errorf("got %v", got)
	}
	want(200, "sent", true, "GET", "/rest/v2/OTP?secsignid=alice&email=a@example.org", "", "")
	code := c.server.Codes("alice")[0]
	want(200, "valid", true, "GET", "/rest/v2/OTP/valid/"+code+"?secsignid=alice", "", "")
	want(200, "valid", false, "GET", "/rest/v2/OTP/valid/"+code+"?secsignid=alice", "", "")
	_, made := c.call("GET", "/rest/v2/TOTP?secsignid=alice", "", "")
	link, _ := url.Parse(made["totp"].(map[string]any)["totpkeyuri"].(string))
	code, err := totp.GenerateCode(link.Query().Get("secret"), c.now)
	if err != nil {
		t.Fatal(err)
	}
	want(200, "valid", true, "GET", "/rest/v2/TOTP/Verify/"+code+"?secsignid=alice", "", "")
	want(200, "valid", false, "GET", "/rest/v2/TOTP/Verify/"+code+"?secsignid=alice", "", "")

	c.web.Config.Handler = New(Options{Account: "ftp", Password: "pin"}).Handler()
	want(403, "", nil, "POST", "/rest/v2/SecSignId/", asJSON, `{"secsignid":"x","email":"c@example.org","enable":"true"}`)
	c.web.Config.Handler = New(Options{Account: "ftp", Password: "other"}).Handler()
	want(401, "", nil, "GET", "/rest/v2/SecSignId/alice?exist", "", "")
}

func (c *client) frozen() string {
	c.server.SetFrozen("bob", true)
	return "bob"
}

func TestControl(t *testing.T) {
	c := newClient(t)
	control := httptest.NewServer(c.server.Control())
	defer control.Close()
	do := func(path, form string, want int) {
		t.Helper()
		r, err := http.Post(control.URL+path, "application/x-www-form-urlencoded", strings.NewReader(form))
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("%s: %s; want %d", path, r.Status, want)
		}
	}
	for answer, want := range map[string]string{"approve": "3", "deny": "4", "fetch": "7", "expire": "2", "suspend": "5", "invalidate": "8"} {
		c.server.SetFrozen("alice", false)
		begun := c.begin("alice")
		do("/sessions/"+begun["authsessionid"]+"/"+answer, "", 200)
		if got := c.state(begun); got != want {
			t.Errorf("%s: state %s", answer, got)
		}
		c.ofSession("ReqCancelAuthSession", begun)
	}
	for icon, want := range map[string]string{"right": "3", "wrong": "4"} {
		begun := c.begin("alice")
		if hash := c.server.Open()[0].Icon; icon == "right" {
			icon = hash
		}
		do("/sessions/"+begun["authsessionid"]+"/approve-with-icon", "icon="+icon, 200)
		if got := c.state(begun); got != want {
			t.Errorf("icon: state %s, want %s", got, want)
		}
		do("/sessions/"+begun["authsessionid"]+"/approve", "", 409)
	}
	do("/ids/carol/create", "", 200)
	do("/ids/carol/rule", "answer=approve&after=10s&fetch=true", 200)
	begun := c.begin("carol")
	c.now = c.now.Add(6 * time.Second)
	fetched := c.state(begun)
	c.now = c.now.Add(6 * time.Second)
	if approved := c.state(begun); fetched != "7" || approved != "3" {
		t.Errorf("states %s, %s", fetched, approved)
	}
	do("/ids/carol/freeze", "", 200)
	if got := c.begin("carol"); got["errorcode"] != "20006" {
		t.Errorf("frozen: %q", got)
	}
	do("/ids/carol/delete", "", 200)
	do("/ids/carol/delete", "", 404)
	do("/ids/alice/melt", "", 400)
	if last := c.server.Journal(); last[len(last)-1].Name != "ReqRequestAuthSession" {
		t.Errorf("journal ends with %+v", last[len(last)-1])
	}
}
