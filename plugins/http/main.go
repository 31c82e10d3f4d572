// The method "http" asks a web service, in the wire format of SFTPPlus's HTTP authentication, so that an
// endpoint that was written for that works unchanged. The password is sent by the host; it never
// enters the sandbox.
package main

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-ftps/sallyport/sdk"
)

func init() { sdk.Register(method{}) }

func main() {}

type method struct{}

var (
	_ sdk.Method    = method{}
	_ sdk.Describer = method{}

	_ sdk.SettingsChecker = method{}
)

// Describe implements sdk.Describer.
func (method) Describe() sdk.Description {
	return sdk.Description{
		Name: "http", Version: "1",
		Settings: []sdk.Setting{
			{Name: "urls", Type: sdk.List, Required: true, Help: `asked in order until one answers, such as ["https://auth.example.org/check"]`},
			{Name: "timeout", Type: sdk.String, Help: `of one request, such as "5s"; at most limits { http_timeout }`},
			{Name: "username", Type: sdk.String, Help: "for Basic authentication at the service"},
			{Name: "password", Type: sdk.String, Secret: true, Help: "for Basic authentication at the service"},
			{Name: "headers", Type: sdk.Map, Secret: true, Help: `more headers, such as { "X-API-Key" = env("API_KEY") }`},
		},
		Needs: sdk.Needs{HTTP: []string{"settings.urls"}, PasswordTo: []string{"settings.urls"}, Groups: true},
	}
}

type settings struct {
	URLs     []string      `setting:"urls"`
	Timeout  time.Duration `setting:"timeout"`
	Username string        `setting:"username"`
	Password string        `setting:"password"`
}

// CheckSettings implements sdk.SettingsChecker.
func (method) CheckSettings(a sdk.Attempt) error {
	var s settings
	if err := a.Settings(&s); err != nil {
		return err
	}
	if len(s.URLs) == 0 {
		return errors.New("setting urls is empty")
	}
	return nil
}

// Authenticate implements sdk.Method. The first URL is always tried first; one that can't be asked, or
// says that it is broken (5xx), is followed by the next. What it says otherwise is the answer.
func (method) Authenticate(a sdk.Attempt) sdk.Verdict {
	var s settings
	if err := a.Settings(&s); err != nil {
		return a.Fail(err.Error())
	}
	if len(s.URLs) == 0 {
		return a.Fail("setting urls is empty")
	}
	for _, url := range s.URLs {
		response, err := a.HTTP(request(a, s, url))
		switch {
		case errors.Is(err, sdk.ErrGivenUp):
			return sdk.Fail
		case err != nil:
			a.Log(sdk.Warn, url+": "+err.Error())
		case response.Status >= 500:
			a.Log(sdk.Warn, url+" answers "+strconv.Itoa(response.Status))
		default:
			return decide(a, s, url, response)
		}
	}
	return a.Fail("no URL could be asked")
}

// request is one check of a password. The numbers and names of the format that are UUIDs there are names here.
func request(a sdk.Attempt, s settings, url string) sdk.Request {
	family := "IPv4"
	if strings.Contains(a.ClientIP(), ":") {
		family = "IPv6"
	}
	port, err := a.Get("client.port")
	if err != nil || port == "" {
		port = "0"
	}
	kind, _ := a.Get("service.kind")
	headers := a.SettingMap("headers")
	headers["Content-Type"] = "application/json; charset=utf-8"
	headers["X-Request-ID"] = a.ID()
	return sdk.Request{
		URL: url, Method: "POST", Header: headers, Username: s.Username, Password: s.Password, Timeout: s.Timeout,
		JSON: map[string]string{
			"/credentials/type":          "password",
			"/credentials/username":      a.User(),
			"/credentials/content@":      "password",
			"/credentials/peer/address":  a.ClientIP(),
			"/credentials/peer/family":   family,
			"/credentials/peer/protocol": "TCP",
			"/credentials/creator/uuid":  a.Service(),
			"/credentials/creator/type":  kind,
			"/server/uuid":               a.Server(),
		},
		Values: map[string]string{"/credentials/peer/port": port},
	}
}

func decide(a sdk.Attempt, s settings, url string, r sdk.Response) sdk.Verdict {
	switch r.Status {
	case 204:
		return sdk.Accept
	case 200:
		return accept(a, url, r)
	case 401:
		if s.Username != "" && r.Header("WWW-Authenticate") != "" { // it does not know us
			return a.Fail(url + " refuses our own username and password")
		}
		return sdk.Unknown
	case 403:
		if message, ok := r.JSON("/message"); ok {
			a.Log(sdk.Info, url+" rejects: "+message)
		}
		return a.Reject("rejected")
	}
	return a.Fail(url + " answers " + strconv.Itoa(r.Status) + ", which says nothing; 200, 204, 401 and 403 are allowed")
}

func accept(a sdk.Attempt, url string, r sdk.Response) sdk.Verdict {
	body, err := r.Body()
	if err != nil {
		return a.Fail(url + ": body: " + err.Error())
	}
	account, ignored, err := parseAccount([]byte(body), a.User())
	if err != nil {
		return a.Fail(url + " answers 200 with a body that is not as it should be: " + err.Error())
	}
	for _, name := range ignored {
		a.Log(sdk.Warn, url+": "+name+" is ignored: all files belong to the server's own user")
	}
	if err := a.SetAccount(account); err != nil {
		return a.Fail(url + ": " + err.Error())
	}
	return sdk.Accept
}
