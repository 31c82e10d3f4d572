package policy_test

import (
	"testing"

	"github.com/sallyport-ftps/sallyport/host/policy"
)

func TestHomeApart(t *testing.T) {
	for home, ok := range map[string]bool{
		"/data/files/{username}": true, "/data/files/alice": true, "/data/private2": true, "/srv": true,
		"/data/private": false, "/data/private/": false, "/data/private/{username}": false, "/data/private/x/../..": false,
		"/data": false, "/": false, "/data/private/a/b": false, "/data/files/../private": false,
	} {
		if err := policy.HomeApart(home, "/data/private"); (err == nil) != ok {
			t.Errorf("%s: %v", home, err)
		}
	}
}
