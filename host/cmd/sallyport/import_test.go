package main

import "testing"

// Whatever a file holds, it is read or refused.
func FuzzImport(f *testing.F) {
	for _, seed := range []string{
		"name,hash,groups\nalice,$6$x$y,default uk\n", "\ufeffname,hash\n\"a\n", `[{"name":"alice","hash":"$5$x"}]`, `[{}]{}`,
		"[accounts/1]\nname = alice\npassword = $6$x$y\ngroup = g1\nexpire_datetime = 2030-01-01\n[groups/g1]\nname = uk\n", "[accounts/1]\ndisable_on_inactivity=x", "[", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		for _, format := range []string{"csv", "json", "sftpplus"} {
			if all, err := parseAccounts(format, []byte(content)); err != nil && all != nil {
				t.Errorf("%s: an error, and %d accounts", format, len(all))
			}
		}
	})
}
