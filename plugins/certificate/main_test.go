package main

import (
	"strings"
	"testing"

	"github.com/sallyport-ftps/sallyport/sdk"
	"github.com/sallyport-ftps/sallyport/sdk/sdktest"
)

// What the built plugin does is in cases.hcl.
func TestCertificate(t *testing.T) {
	host := sdktest.Host{Fields: map[string]string{"user": "alice", "certificate.names": "dns:other\ncn:ALICE"}}
	if got := host.Run(method{}); got != sdk.Accept || host.Result["account.name"] != "alice" {
		t.Errorf("got %v %v", got, host.Result)
	}
	host.Fields["user"] = "other.example.org"
	if got := host.Run(method{}); got != sdk.Reject || host.Result["reason"] != "certificate_not_theirs" {
		t.Errorf("got %v %v", got, host.Result)
	}
}

func TestSettings(t *testing.T) {
	for want, host := range map[string]*sdktest.Host{
		`there is no "serial"`: {Lists: map[string][]string{"match": {"serial"}}},
		`the kind of name`:     {Maps: map[string]map[string]string{"users": {"alice": "bob"}}},
		``:                     {Maps: map[string]map[string]string{"users": {"cn:Alice": "bob"}}},
	} {
		err := host.CheckSettings(method{})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}
