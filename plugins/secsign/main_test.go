package main

import (
	"strings"
	"testing"

	"github.com/sallyport-ftps/sallyport/sdk"
	"github.com/sallyport-ftps/sallyport/sdk/sdktest"
)

// The wire as the vendor's own clients show it; host/sandbox runs the built plugin against an ID server.
func TestLegacyWire(t *testing.T) {
	host := sdktest.Host{
		Fields: map[string]string{"user": "alice", "server": "VP server"}, Settings: map[string]string{"service_name": "Partner FTP"}, Maps: map[string]map[string]string{"users": {"alice": "Alice"}},
		HTTP: []sdktest.Answer{
			{Status: 200, Body: "authsessionicondata=iVBORw0KGgo+/A==&requestid=7D2C&authsessionid=-8337&servicename=Partner FTP&secsignid=alice&authsessionstate=1&serviceaddress=VP server"},
			{Status: 200, Body: "authsessionstate=7&secsignid=alice&authsessionid=-8337"},
			{Status: 200, Body: "authsessionid=-8337&secsignid=alice&authsessionstate=3\n"},
		},
	}
	if got := host.Run(method{}); got != sdk.Accept {
		t.Fatalf("got %v: %q", got, host.Logs)
	}
	if got := strings.Join(host.Approvals, " "); got != "requested delivered approved" {
		t.Errorf("approvals %q", got)
	}
	for i, want := range []map[string]string{
		{"url": "https://httpapi.secsign.com/", "form.request": "ReqRequestAuthSession", "form.secsignid": "alice", "form.servicename": "Partner FTP", "form.serviceaddress": "VP server", "form.apimethod": apiName, "header.Referer": apiName},
		{"form.request": "ReqGetAuthSessionState", "form.authsessionid": "-8337", "form.requestid": "7D2C", "form.secsignid": "alice"},
	} {
		for name, value := range want {
			if got := host.Requests[i][name]; got != value {
				t.Errorf("request %d: %s = %q; want %q", i+1, name, got, value)
			}
		}
	}
}

// Whatever a server answers, an answer that is taken has each key once, and no error in it.
func FuzzParseAnswer(f *testing.F) {
	for _, body := range []string{
		"authsessionid=1&secsignid=a&authsessionstate=3", "error=500&errormsg=x&errorcode=20000", "a=b&a=c", "a", "=", "a==b&c=", "", "\n", "a=b&error=&authsessionstate=3", "errorcode=20006",
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		answer, err := parseAnswer(body)
		if err != nil {
			return
		}
		if _, failed := answer["error"]; failed || answer["errorcode"] != "" || answer[""] != "" {
			t.Errorf("%q became %q", body, answer)
		}
		if n := strings.Count(body, "&") + 1; n != len(answer) {
			t.Errorf("%q has %d parts and became %q", body, n, answer)
		}
	})
}
