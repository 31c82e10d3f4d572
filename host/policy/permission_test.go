package policy_test

import (
	"slices"
	"testing"

	"github.com/sallyport-ftps/sallyport/host/policy"
)

func TestPermissions(t *testing.T) {
	for _, c := range []struct {
		words []string
		want  policy.Permissions
		ok    bool
	}{
		{[]string{"allow-full-control"}, policy.FullControl, true},
		{[]string{"allow-read", "allow-list"}, policy.Read | policy.List, true},
		{[]string{"allow-full-control", "deny-full-control"}, 0, true},
		{nil, 0, true},
		{[]string{"read"}, 0, false},
		{[]string{"allow-fly"}, 0, false},
	} {
		got, err := policy.ParsePermissions(c.words)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%q: got %b, %v", c.words, got, err)
		}
	}
	for bit := policy.Permissions(1); bit < policy.FullControl; bit <<= 1 {
		if again, err := policy.ParsePermissions(bit.Words()); again != bit || err != nil {
			t.Errorf("%b: %q gives %b, %v", bit, bit.Words(), again, err)
		}
	}
	if !slices.Equal(policy.FullControl.Words(), []string{"allow-full-control"}) || len(policy.PermissionWords()) != 11 {
		t.Error("words are wrong")
	}
}
