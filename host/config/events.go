package config

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/nats-io/nkeys"

	"github.com/sallyport-ftps/sallyport/events"
)

func (c *checker) events(r *rawEvents) Events {
	if r == nil {
		r = &rawEvents{Body: hcl.EmptyBody()}
	}
	e := Events{
		Listen:       value(r.Listen, "127.0.0.1:4222"),
		Certificate:  absolute(c.dir, value(r.Certificate, "")),
		PrivateKey:   absolute(c.dir, value(r.PrivateKey, "")),
		Retention:    c.duration(r.Body, "retention", r.Retention, 90*24*time.Hour, time.Hour, 10*365*24*time.Hour),
		Size:         c.size(r.Body, "size", r.Size, 1<<30),
		Required:     value(r.Required, true),
		UnknownNames: value(r.UnknownNames, false),
	}
	const least, most = 1 << 20, 1 << 40
	if e.Size < least || e.Size > most {
		c.problem(rangeOf(r.Body, "size"), "Wrong size", `size = %d bytes; "1MiB" to "1024GiB" is allowed`, e.Size)
	}
	if (e.Certificate == "") != (e.PrivateKey == "") {
		c.problem(rangeOf(r.Body, "certificate"), "Half a key pair", "certificate and private_key belong together; without both events are on loopback only")
	}
	for i := range r.Users {
		e.Users = append(e.Users, c.eventsUser(&r.Users[i]))
	}
	c.unique("user", len(r.Users), func(i int) (string, hcl.Range) { return r.Users[i].Name, r.Users[i].Range })
	c.unique("the key of user", len(r.Users), func(i int) (string, hcl.Range) { return r.Users[i].Key, rangeOf(r.Users[i].Body, "key") })
	e.Forward = c.forward(r.Forward)
	if e.Listen != "" && c.address(r.Body, "listen", e.Listen, "127.0.0.1:4222") && e.Certificate == "" {
		host, _, _ := net.SplitHostPort(e.Listen)
		if !loopback(host) {
			c.problem(rangeOf(r.Body, "listen"), "Not on loopback", `%q: without certificate and private_key events travel in the clear, so only a loopback address such as "127.0.0.1:4222" is allowed, or "" for no listener`, e.Listen)
		}
	}
	return e
}

func (c *checker) eventsUser(r *rawEventsUser) EventsUser {
	u := EventsUser{Name: r.Name, Key: r.Key, Subjects: r.Subjects}
	c.word(r.Range, "user", r.Name)
	if r.Name == "subscriber" {
		c.problem(r.Range, "Reserved name", `"subscriber" is the user whose key the server makes, in data_dir`)
	}
	if _, err := nkeys.FromSeed([]byte(u.Key)); err == nil {
		c.problem(rangeOf(r.Body, "key"), "Secret key", "this is the secret seed, which belongs to the subscriber alone; the public key, U and 55 letters, is expected")
	} else if !nkeys.IsValidPublicUserKey(u.Key) {
		c.problem(rangeOf(r.Body, "key"), "Wrong key", "%q: the public key of a user is expected, U and 55 letters; \"sallyport events key FILE\" makes a pair", u.Key)
	}
	if u.Subjects != nil && len(u.Subjects) == 0 {
		c.problem(rangeOf(r.Body, "subjects"), "No subjects", "the user could read nothing; without subjects it may read all")
	}
	if len(u.Subjects) == 0 {
		u.Subjects = []string{events.Root + ".>"}
	}
	for _, subject := range u.Subjects {
		if !isSubject(subject) {
			c.problem(rangeOf(r.Body, "subjects"), "Wrong subject", "%q; expected is something like %q, %q or %q", subject, events.Root+".>", events.Root+".login.>", events.LoginRefusedType)
		}
	}
	return u
}

// isSubject reports whether a text names some events: words, or * for one, or > for all that follow.
func isSubject(text string) bool {
	if !regexp.MustCompile(`^sallyport\.v1(\.[a-z_]+|\.\*)*(\.>)?$`).MatchString(text) {
		return false
	}
	pattern := strings.NewReplacer(".", `\.`, "*", `[^.]+`, ">", `.+`).Replace(text)
	return slices.ContainsFunc(events.Types(), func(t events.Type) bool { return regexp.MustCompile("^" + pattern + "$").MatchString(string(t)) })
}

func (c *checker) forward(r *rawForward) *Forward {
	if r == nil {
		return nil
	}
	f := &Forward{URL: r.URL, Seed: secretText(value(r.Seed, "")), User: value(r.User, ""), Password: secretText(value(r.Pass, "")), CA: c.pool(r.Body, r.CA)}
	to, err := url.Parse(r.URL)
	switch {
	case err == nil && to.User != nil:
		c.problem(rangeOf(r.Body, "url"), "Credentials in the URL", "they belong in user and password, where they are kept out of logs")
	case err != nil || !slices.Contains([]string{"nats", "tls"}, to.Scheme) || to.Hostname() == "" || strings.Contains(r.URL, ","):
		c.problem(rangeOf(r.Body, "url"), "Wrong URL", `url = %q; something like "tls://nats.example.org:4222" is expected`, r.URL)
	case to.Scheme == "nats" && !loopback(to.Hostname()):
		c.problem(rangeOf(r.Body, "url"), "Not encrypted", `%q: events would travel in the clear; tls:// is needed but for a NATS on loopback`, r.URL)
	}
	if (f.User == "") != f.Password.Empty() || f.User != "" && !f.Seed.Empty() {
		c.problem(rangeOf(r.Body, "user"), "Wrong credentials", "either seed, or user and password, or none of them is expected")
	}
	if !f.Seed.Empty() {
		if pair, err := nkeys.FromSeed([]byte(f.Seed.Reveal())); err != nil {
			c.problem(rangeOf(r.Body, "seed"), "Wrong seed", `the seed of an nkey is expected, such as seed = file("forward.nk")`)
		} else {
			pair.Wipe()
		}
	}
	return f
}

func (c *checker) metrics(r *rawMetrics) string {
	if r == nil {
		return ""
	}
	if c.address(r.Body, "listen", r.Listen, "127.0.0.1:9121") {
		if host, _, _ := net.SplitHostPort(r.Listen); !loopback(host) {
			c.problem(rangeOf(r.Body, "listen"), "Not on loopback", `%q: metrics are for this machine, on an address such as "127.0.0.1:9121"`, r.Listen)
		}
	}
	return r.Listen
}
