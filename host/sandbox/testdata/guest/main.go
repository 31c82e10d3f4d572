// A Go plugin for the tests of the sandbox: the user name says what to do.
package main

import (
	"fmt"
	"os"
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
		{Name: "list", Type: sdk.List},
	}}
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
	return sdk.Unknown
}
