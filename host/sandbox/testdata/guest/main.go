// A Go plugin for the tests of the sandbox: the user name says what to do.
package main

import (
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-ftps/sallyport/sdk"
)

func init() { sdk.Register(method{}) }

func main() {}

type method struct{}

var kept = map[string]string{}

func (method) Describe() sdk.Description {
	return sdk.Description{Name: "test guest", Version: "7", Settings: []sdk.Setting{
		{Name: "word", Type: sdk.String, Required: true},
		{Name: "token", Type: sdk.String, Secret: true},
		{Name: "list", Type: sdk.List, Help: "some words"},
		{Name: "url", Type: sdk.String},
	}, Needs: sdk.Needs{Password: true, HTTP: []string{"settings.url", "https://always.example"}}}
}

func (method) Authenticate(a sdk.Attempt) sdk.Verdict {
	password, err := a.Password()
	switch a.User() {
	case "password":
		a.Log(sdk.Info, "the password is "+password)
		fmt.Println("and again: " + password)
		if err != nil || password == "" {
			return a.Reject("rejected")
		}
		return sdk.Accept
	case "secrets":
		a.Log(sdk.Info, strings.Repeat("x", sdk.MaxLog-10)+password) // over the cut
		a.Log(sdk.Info, password)
		fmt.Printf("%q\n", password)
		panic("token " + a.Setting("token") + " for " + password)
	case "verify":
		if a.Account("email") != "" {
			return sdk.Fail // readable before it was verified
		}
		check, err := a.VerifyPassword()
		if err != nil {
			return a.Fail(err.Error())
		}
		if !check.Right {
			return a.Reject(check.Reason)
		}
		if a.Account("email") != "verify@example.org" || strings.Join(a.AccountGroups(), ",") != "one,two" {
			return a.Reject("rejected")
		}
		return sdk.Accept
	case "settings":
		entry, _ := a.SettingEntry("map", "a/b~c")
		a.Log(sdk.Info, fmt.Sprint(a.Setting("word"), a.SettingList("list"), a.Setting("number"), a.Setting("flag"), entry, a.Setting("absent")))
		return sdk.Accept
	case "set":
		for key, value := range map[string]string{"account.home": "/srv/x", "account.email": "x@example.org", "reason": "rejected"} {
			if err := a.Set(key, value); err != nil {
				return a.Fail(err.Error())
			}
		}
		for key, value := range map[string]string{"user": "root", "account.uid": "0", "password": "x", "reason": strings.Repeat("x", sdk.MaxField+1), strings.Repeat("k", 300): "x"} {
			if a.Set(key, value) == nil {
				return a.Fail(key + " could be set")
			}
		}
		return sdk.Accept
	case "panic":
		panic("my secret plan failed")
	case "spin":
		for {
		}
	case "deadlock":
		<-make(chan int)
	case "sleep":
		time.Sleep(time.Hour)
	case "nap":
		time.Sleep(400 * time.Millisecond) // longer than a run may execute: waiting is not executing
		return sdk.Accept
	case "memory":
		var all [][]byte
		for {
			all = append(all, make([]byte, 1<<20))
		}
	case "keep":
		if kept["seen"] != "" {
			return sdk.Accept
		}
		kept["seen"] = password
		return sdk.Unknown
	case "files":
		_, read := os.ReadFile("/etc/passwd")
		_, list := os.ReadDir("/")
		if read == nil || list == nil || len(os.Args) > 1 || len(os.Environ()) > 0 {
			return sdk.Accept
		}
		return sdk.Reject
	case "flood":
		for range 500 {
			a.Log(sdk.Info, strings.Repeat("x", 5000)+"\nINFO faked line\x1b[31m")
		}
		return sdk.Reject
	}
	if scene, ok := scenes[a.User()]; ok {
		return scene(a)
	}
	return sdk.Unknown
}

// scenes are the ways of waiting for the host.
var scenes = map[string]func(sdk.Attempt) sdk.Verdict{
	"poll sleep": func(a sdk.Attempt) sdk.Verdict {
		for i := 0; ; i++ {
			a.Log(sdk.Info, "poll "+strconv.Itoa(i))
			if poll(a, "n", strconv.Itoa(i)) == "approved" {
				return sdk.Accept
			}
			time.Sleep(20 * time.Millisecond)
		}
	},
	"poll until": func(a sdk.Attempt) sdk.Verdict {
		within, err := time.ParseDuration(a.Setting("within"))
		if err != nil {
			within = 10 * time.Minute
		}
		for end := time.Now().Add(within); time.Now().Before(end); {
			if poll(a, "n", "x") == "approved" {
				return sdk.Accept
			}
			if a.Sleep(20*time.Millisecond) != nil {
				return sdk.Fail
			}
		}
		return a.Reject("rejected")
	},
	"poll map": func(a sdk.Attempt) sdk.Verdict {
		all := map[string]int{}
		for i := range 20 {
			all["key "+strconv.Itoa(i)] = i
		}
		for key := range all {
			if poll(a, "n", key) == "approved" {
				return sdk.Accept
			}
		}
		return sdk.Reject
	},
	"poll goroutines": func(a sdk.Attempt) sdk.Verdict {
		turns := make(chan int)
		for i := range 4 {
			go func() {
				for range 3 {
					time.Sleep(time.Duration(i+1) * 3 * time.Millisecond)
					turns <- i
				}
			}()
		}
		for range 12 {
			if poll(a, "n", strconv.Itoa(<-turns)) == "approved" {
				return sdk.Accept
			}
		}
		return sdk.Reject
	},
	"poll random": func(a sdk.Attempt) sdk.Verdict {
		for {
			var nonce [8]byte
			_, _ = crand.Read(nonce[:])
			field, err := a.Get("random:8")
			if err != nil {
				return a.Fail(err.Error())
			}
			if poll(a, "n", fmt.Sprintf("%x-%x-%d", nonce, field, rand.Int63())) == "approved" {
				return sdk.Accept
			}
		}
	},
	"other way": func(a sdk.Attempt) sdk.Verdict {
		mark, _ := a.Get("mark")
		poll(a, "n", "1")
		if mark == "changed" {
			poll(a, "n", "another")
		}
		poll(a, "n", "2")
		return sdk.Accept
	},
	"early end": func(a sdk.Attempt) sdk.Verdict {
		if mark, _ := a.Get("mark"); mark == "changed" {
			return sdk.Accept
		}
		poll(a, "n", "1")
		return sdk.Reject
	},
	"other read": func(a sdk.Attempt) sdk.Verdict {
		poll(a, "n", "1")
		if mark, _ := a.Get("mark"); mark == "changed" {
			_, _ = a.Get("http.response.header.Date")
		}
		poll(a, "n", "2")
		return sdk.Accept
	},
	"push":         func(a sdk.Attempt) sdk.Verdict { return push(a, time.Second) },
	"push to wait": func(a sdk.Attempt) sdk.Verdict { return push(a, time.Hour) },
	"approvals": func(a sdk.Attempt) sdk.Verdict {
		password, _ := a.Password()
		for i := range 1000 {
			for range 2 { // the second is no change
				if err := a.Approval(sdk.ApprovalStates()[i%2], password+strings.Repeat("x", 5000), ""); err != nil {
					_, _ = a.Get("user") // the same way in each run, if the answer is
				}
			}
		}
		_, _ = a.VerifyPassword()
		return sdk.Accept
	},
	"push marked": func(a sdk.Attempt) sdk.Verdict {
		poll(a, "do", "poll")
		_, _ = a.HTTP(sdk.Request{URL: a.Setting("url"), Query: map[string]string{"do": "withdraw ref-1"}, Withdraw: true})
		poll(a, "do", "more")
		return sdk.Accept
	},
	"push stubborn": func(a sdk.Attempt) sdk.Verdict {
		for {
			poll(a, "n", "again")
		}
	},
	"references": func(a sdk.Attempt) sdk.Verdict {
		_, err := a.HTTP(sdk.Request{URL: a.Setting("url"), Form: map[string]string{"pw@": "password"}, Header: map[string]string{"Authorization@": "secret.token"}, Query: map[string]string{"user@": "user"}})
		return outcome(a, err)
	},
	"get secret": func(a sdk.Attempt) sdk.Verdict {
		_, err := a.Get("secret.token")
		return outcome(a, err)
	},
	"json": func(a sdk.Attempt) sdk.Verdict {
		r, err := a.HTTP(sdk.Request{URL: a.Setting("url"), JSON: map[string]string{"/user/name@": "user", "/pass": "word"}, Username: "me", Password: "x"})
		if err != nil {
			return outcome(a, err)
		}
		name, _ := r.JSON("/user/name")
		n, _ := r.JSONInt("/list/1")
		_, missing := r.JSON("/nothing/here")
		a.Log(sdk.Info, fmt.Sprint(r.Status, " ", name, " ", n, " ", missing, " ", r.Header("X-Reply")))
		return sdk.Accept
	},
	"header": func(a sdk.Attempt) sdk.Verdict {
		name, value, _ := strings.Cut(a.Setting("header"), ": ")
		_, err := a.HTTP(sdk.Request{URL: a.Setting("url"), Header: map[string]string{name: value}})
		return outcome(a, err)
	},
	"body": func(a sdk.Attempt) sdk.Verdict {
		r, err := a.HTTP(sdk.Request{URL: a.Setting("url")})
		if err == nil {
			var body string
			body, err = r.Body()
			a.Log(sdk.Info, "body of "+strconv.Itoa(len(body)))
		}
		return outcome(a, err)
	},
	"big request": func(a sdk.Attempt) sdk.Verdict {
		_, err := a.HTTP(sdk.Request{URL: a.Setting("url"), Header: map[string]string{"X": strings.Repeat("x", 40<<10)}, Body: strings.Repeat("x", 40<<10)})
		return outcome(a, err)
	},
	"settings struct": func(a sdk.Attempt) sdk.Verdict {
		s := struct {
			URL     string        `setting:"url"`
			Timeout time.Duration `setting:"timeout"`
			Number  int           `setting:"number"`
			Factor  float64       `setting:"factor"`
			Flag    bool          `setting:"flag"`
			List    []string      `setting:"list"`
			Other   string        `setting:"other"`
		}{Other: "default"}
		err := a.Settings(&s)
		a.Log(sdk.Info, fmt.Sprint(s))
		return outcome(a, err)
	},
	"ask": func(a sdk.Attempt) sdk.Verdict {
		yes, err := a.Ask("let " + a.User() + " in?")
		if err != nil {
			return outcome(a, err)
		}
		if yes {
			return sdk.Accept
		}
		return sdk.Reject
	},
	"goroutines": func(a sdk.Attempt) sdk.Verdict {
		for range 100_000 {
			go func() { select {} }()
		}
		return sdk.Accept
	},
	"ticker": func(a sdk.Attempt) sdk.Verdict {
		time.NewTicker(time.Millisecond)
		go func() {
			for {
				time.Sleep(time.Microsecond)
			}
		}()
		return sdk.Accept
	},
	"grow": func(a sdk.Attempt) sdk.Verdict {
		all := make([]byte, 8<<20)
		all[len(all)-1] = 1
		return sdk.Accept
	},
}

// poll asks the test's server, and returns what it says.
func poll(a sdk.Attempt, key, value string) string {
	r, err := a.HTTP(sdk.Request{URL: a.Setting("url"), Query: map[string]string{key: value}})
	if err != nil {
		a.Log(sdk.Warn, "poll: "+err.Error())
		return ""
	}
	body, err := r.Body()
	if err != nil {
		a.Log(sdk.Warn, "body: "+err.Error())
	}
	return body
}

// push asks a person, and takes the request back if nobody waits any more.
func push(a sdk.Attempt, every time.Duration) sdk.Verdict {
	ref := poll(a, "do", "request")
	_ = a.Approval("requested", ref, "4711")
	defer func() {
		if ref != "" {
			poll(a, "do", "withdraw "+ref)
		}
	}()
	for {
		if err := a.Sleep(every); err != nil {
			a.Log(sdk.Info, "sleep: "+err.Error())
			return sdk.Fail
		}
		r, err := a.HTTP(sdk.Request{URL: a.Setting("url"), Query: map[string]string{"do": "poll"}})
		if errors.Is(err, sdk.ErrGivenUp) {
			return sdk.Fail
		}
		if body, _ := r.Body(); body == "approved" {
			_ = a.Approval("approved", ref, "")
			ref = ""
			return sdk.Accept
		}
	}
}

func outcome(a sdk.Attempt, err error) sdk.Verdict {
	if err == nil {
		return sdk.Accept
	}
	a.Log(sdk.Info, "refused: "+err.Error())
	return a.Reject("rejected")
}
