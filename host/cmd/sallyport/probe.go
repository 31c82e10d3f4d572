package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// probed is what came of connecting to one address of a method.
type probed struct {
	Method      string       `json:"method"`
	Address     string       `json:"address"`
	Resolved    []netip.Addr `json:"resolved,omitempty"`
	Connected   string       `json:"connected,omitempty"` // empty for UDP too, of which nobody knows
	TLS         string       `json:"tls,omitempty"`
	Certificate *time.Time   `json:"certificate_until,omitempty"`
	Error       string       `json:"error,omitempty"`
}

// tried is what a method says of a user whom nobody knows: it shows whether it may ask at all.
type tried struct {
	Method  string   `json:"method"`
	Answers bool     `json:"answers"`
	Verdict string   `json:"verdict"`
	Detail  string   `json:"detail,omitempty"`
	Log     []string `json:"log,omitempty"`
}

// probedServer is what came of connecting to the mail server, or the NATS that events are copied to.
type probedServer struct {
	Server string `json:"server"`
	Error  string `json:"error,omitempty"`
}

func newProbed(server string, err error) *probedServer {
	p := &probedServer{Server: server}
	if err != nil {
		p.Error = err.Error()
	}
	return p
}

func (p *probedServer) failed() bool { return p != nil && p.Error != "" }

func (p *probedServer) print(w io.Writer, what string) {
	switch {
	case p.failed():
		fmt.Fprintf(w, "\n%s: %s\n", what, p.Error)
	case p != nil:
		fmt.Fprintf(w, "\n%s %s: works\n", what, p.Server)
	}
}

// probeServers fills in those that are configured, and returns how many.
func (r *probeReport) probeServers(ctx context.Context, c *config.Config) (n int) {
	if c.Mail != nil {
		n++
		r.Mail = newProbed(c.Mail.Server, c.Mail.Probe(ctx))
	}
	if c.Events.Forward != nil {
		n++
		to, err := forwardTo(c, "")
		if err == nil {
			err = to.Probe(ctx)
		}
		r.Forward = newProbed(c.Events.Forward.URL, err)
	}
	return n
}

// probeReport is what "check --connect" finds.
type probeReport struct {
	Addresses []probed      `json:"addresses"`
	Methods   []tried       `json:"methods"`
	Mail      *probedServer `json:"mail,omitempty"`
	Forward   *probedServer `json:"forward,omitempty"`
}

// probe connects to what the methods were granted, and asks each for a user who does not exist. Only those
// that wanted it and are enabled are asked, side by side.
func (m *methods) probe(ctx context.Context, c *config.Config, wanted func(config.Authentication) bool) probeReport {
	var ids []*method
	for _, one := range c.Authentications {
		if loaded := m.byID[one.ID]; loaded != nil && wanted(one) && len(one.Grants.Endpoints()) > 0 {
			ids = append(ids, loaded)
		}
	}
	addresses, answers := make([][]probed, len(ids)), make([]tried, len(ids))
	var probing sync.WaitGroup
	for i, one := range ids {
		probing.Go(func() { addresses[i] = one.probeAddresses(ctx) })
		probing.Go(func() { answers[i] = one.try(ctx) })
	}
	probing.Wait()
	report := probeReport{Addresses: []probed{}, Methods: answers}
	for _, some := range addresses {
		report.Addresses = append(report.Addresses, some...)
	}
	return report
}

func (m *method) probeAddresses(ctx context.Context) (all []probed) {
	for _, e := range m.config.Grants.Endpoints() {
		p := m.reach.Probe(ctx, e)
		row := probed{Method: m.config.ID, Address: e.String(), Resolved: p.Resolved, TLS: p.TLS}
		if p.Connected.IsValid() {
			row.Connected = p.Connected.String()
		}
		if !p.Until.IsZero() {
			row.Certificate = &p.Until
		}
		if p.Err != nil {
			row.Error = p.Err.Error()
		}
		all = append(all, row)
	}
	return all
}

// try asks the method for somebody who can't be there, with a password that can't be right.
func (m *method) try(ctx context.Context) tried {
	ctx, cancel := context.WithTimeout(ctx, m.config.Timeout)
	defer cancel()
	name := "sallyport-check-" + strings.ToLower(rand.Text())[:8]
	answer := m.Authenticate(ctx, auth.Attempt{ID: name, Service: "check", Typed: name, User: name, Password: secret.New(rand.Text()), Trial: true})
	t := tried{Method: m.config.ID, Verdict: answer.Verdict.String(), Detail: answer.Detail, Log: answer.Log}
	t.Answers = answer.Verdict == auth.Unknown || answer.Verdict == auth.Rejected
	if answer.Verdict == auth.Accepted {
		t.Detail = "it lets in somebody who does not exist, with any password"
	}
	return t
}

// problem joins what went wrong; nil: nothing.
func (r probeReport) problem() error {
	var all []error
	for _, row := range r.Addresses {
		if row.Error != "" {
			all = append(all, fmt.Errorf("authentication %q: %s: %s", row.Method, row.Address, row.Error))
		}
	}
	for _, row := range r.Methods {
		if !row.Answers {
			all = append(all, fmt.Errorf("authentication %q: it can't ask: %s", row.Method, row.Detail))
		}
	}
	return errors.Join(all...)
}

// failures counts what went wrong.
func (r probeReport) failures() (n int) {
	for _, row := range r.Addresses {
		if row.Error != "" {
			n++
		}
	}
	for _, row := range r.Methods {
		if !row.Answers {
			n++
		}
	}
	for _, p := range []*probedServer{r.Mail, r.Forward} {
		if p.failed() {
			n++
		}
	}
	return n
}

func (r probeReport) print(w io.Writer) {
	defer r.Forward.print(w, "forward to")
	defer r.Mail.print(w, "mail server")
	if len(r.Methods) == 0 {
		fmt.Fprintln(w, "no method has an address to connect to")
		return
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "METHOD\tADDRESS\tRESOLVED\tCONNECTED\tTLS\tCERTIFICATE UNTIL\t")
	for _, row := range r.Addresses {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", row.Method, row.Address, yes(len(row.Resolved) > 0), connectedText(row), orText(row.TLS, "-"), untilText(row.Certificate), row.Error)
	}
	_ = table.Flush()
	fmt.Fprintln(w)
	table = tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "METHOD\tANSWERS\tASKED FOR SOMEBODY WHO DOES NOT EXIST, IT SAYS")
	for _, row := range r.Methods {
		fmt.Fprintf(table, "%s\t%s\t%s\n", row.Method, yes(row.Answers), strings.TrimSuffix(row.Verdict+": "+row.Detail, ": "))
		for _, line := range row.Log {
			fmt.Fprintf(table, "\t\t  %q\n", line)
		}
	}
	_ = table.Flush()
}

func yes(ok bool) string {
	if ok {
		return "yes"
	}
	return "no"
}

func connectedText(row probed) string {
	if strings.HasPrefix(row.Address, "udp:") && row.Error == "" {
		return "-"
	}
	return yes(row.Connected != "")
}

func untilText(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04") + " UTC"
}
