// Package cases runs a plugin through the cases of a file: an attempt, settings, scripted answers and a
// clock of its own, and what must come of it. The plugin runs in the same sandbox as in the server.
//
// [Parse] reads a file, [Case.Run] runs one case.
package cases

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclparse"

	"github.com/sallyport-ftps/sallyport/host/config"
)

// Case is one attempt with what must come of it.
type Case struct {
	Name     string
	User     string
	Password string
	Fields   map[string]string // others that get returns, such as "client.ip"
	Settings map[string]any
	Secrets  map[string]string
	// SeesPassword and PasswordTo are granted beside what the plugin says that it needs.
	SeesPassword bool
	PasswordTo   []string
	Account      *Account      // the host's own account of this name
	Ask          *bool         // what an approver says; nil: nobody may be asked
	Answers      []Answer      // to HTTP requests, in order
	GiveUp       time.Duration // on the plugin's clock, when the client leaves; 0: never
	Timeout      time.Duration // of the method
	Now          time.Time     // when the attempt begins
	Expect       Expect
}

// Account is what the host knows.
type Account struct {
	Password string   `hcl:"password,optional"`
	Code     string   `hcl:"code,optional"` // the one-time code that is right
	Groups   []string `hcl:"groups,optional"`
	Email    string   `hcl:"email,optional"`
}

// Answer is one scripted answer.
type Answer struct {
	Status int               `hcl:"status,optional"`
	Header map[string]string `hcl:"header,optional"`
	Body   string            `hcl:"body,optional"`
	Error  string            `hcl:"error,optional"` // the request fails
	Took   string            `hcl:"took,optional"`  // a duration
	took   time.Duration
}

// Expect is what must come of a case. What is not said is not looked at.
type Expect struct {
	Verdict   string            `hcl:"verdict"`
	Reason    string            `hcl:"reason,optional"`
	Fields    map[string]string `hcl:"fields,optional"`
	Requests  []string          `hcl:"requests,optional"` // "METHOD URL" or "METHOD URL BODY"
	Headers   map[string]string `hcl:"headers,optional"`  // of every request
	Approvals []string          `hcl:"approvals,optional"`
	Slept     string            `hcl:"slept,optional"`
	Log       []string          `hcl:"log,optional"`   // each is part of a line
	Error     string            `hcl:"error,optional"` // part of why it failed
	slept     time.Duration
	requests  bool // said, even if there are none
}

type rawFile struct {
	Settings hcl.Expression `hcl:"settings,optional"`
	Secrets  hcl.Expression `hcl:"secrets,optional"`
	Timeout  string         `hcl:"timeout,optional"`
	Cases    []rawCase      `hcl:"case,block"`
}

type rawCase struct {
	Name       string            `hcl:"name,label"`
	User       string            `hcl:"user,optional"`
	Password   string            `hcl:"password,optional"`
	Fields     map[string]string `hcl:"fields,optional"`
	Settings   hcl.Expression    `hcl:"settings,optional"`
	Secrets    hcl.Expression    `hcl:"secrets,optional"`
	Sees       bool              `hcl:"sees_password,optional"`
	PasswordTo []string          `hcl:"password_to,optional"`
	Account    *Account          `hcl:"account,block"`
	Ask        *bool             `hcl:"ask,optional"`
	Answers    []Answer          `hcl:"answer,block"`
	GiveUp     string            `hcl:"give_up,optional"`
	Timeout    string            `hcl:"timeout,optional"`
	Now        string            `hcl:"now,optional"`
	Expect     Expect            `hcl:"expect,block"`
	Range      hcl.Range         `hcl:",def_range"`
}

// Parse reads a file of cases. Settings and secrets outside of a case are for all of them.
func Parse(file string, source []byte) ([]Case, error) {
	parsed, diags := hclparse.NewParser().ParseHCL(source, file)
	if diags.HasErrors() {
		return nil, &config.Problems{Diagnostics: diags}
	}
	var raw rawFile
	if diags := gohcl.DecodeBody(parsed.Body, nil, &raw); diags.HasErrors() {
		return nil, &config.Problems{Diagnostics: diags}
	}
	if len(raw.Cases) == 0 {
		return nil, fmt.Errorf(`%s: there is no block case "NAME" { }`, file)
	}
	var all []Case
	for i := range raw.Cases {
		if slices.ContainsFunc(all, func(c Case) bool { return c.Name == raw.Cases[i].Name }) {
			return nil, fmt.Errorf("%s:%d: case %q is there twice", file, raw.Cases[i].Range.Start.Line, raw.Cases[i].Name)
		}
		c, err := raw.Cases[i].make(raw)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: case %q: %w", file, raw.Cases[i].Range.Start.Line, raw.Cases[i].Name, err)
		}
		all = append(all, c)
	}
	return all, nil
}

func (r *rawCase) make(file rawFile) (Case, error) {
	c := Case{
		Name: r.Name, User: r.User, Password: r.Password, Fields: r.Fields, Account: r.Account, Ask: r.Ask, Answers: r.Answers, Expect: r.Expect,
		SeesPassword: r.Sees, PasswordTo: r.PasswordTo, Settings: map[string]any{}, Secrets: map[string]string{},
		Now: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC),
	}
	if c.User == "" {
		c.User = "alice"
	}
	for _, e := range []hcl.Expression{file.Settings, r.Settings} {
		if err := merge(e, func(name string, value any) error { c.Settings[name] = value; return nil }); err != nil {
			return c, fmt.Errorf("settings: %w", err)
		}
	}
	for _, e := range []hcl.Expression{file.Secrets, r.Secrets} {
		if err := merge(e, func(name string, value any) error {
			text, ok := value.(string)
			if !ok || text == "" {
				return fmt.Errorf("%q must be a string that is not empty", name)
			}
			c.Secrets[name] = text
			return nil
		}); err != nil {
			return c, fmt.Errorf("secrets: %w", err)
		}
	}
	if r.Timeout == "" {
		r.Timeout = file.Timeout
	}
	return c, c.times(r)
}

// defaultTimeout is what a method has unless its timeout says otherwise.
const defaultTimeout = 30 * time.Second

func (c *Case) times(r *rawCase) (err error) {
	c.Timeout = defaultTimeout
	if r.Now != "" {
		if c.Now, err = time.Parse(time.RFC3339, r.Now); err != nil {
			return fmt.Errorf(`now = %q; a time such as "2026-01-01T12:00:00Z" is expected`, r.Now)
		}
	}
	duration := func(name, text string, d *time.Duration) {
		if text == "" || err != nil {
			return
		}
		if *d, err = time.ParseDuration(text); err != nil || *d < 0 {
			err = fmt.Errorf(`%s = %q; a duration such as "10s" is expected`, name, text)
		}
	}
	duration("give_up", r.GiveUp, &c.GiveUp)
	duration("timeout", r.Timeout, &c.Timeout)
	duration("slept", c.Expect.Slept, &c.Expect.slept)
	for i := range c.Answers {
		a := &c.Answers[i]
		duration("took", a.Took, &a.took)
		if err == nil && ((a.Status == 0) == (a.Error == "") || a.Status != 0 && (a.Status < 100 || a.Status > 599)) {
			err = errors.New("an answer needs a status from 100 to 599, or an error")
		}
	}
	switch c.Expect.Verdict {
	case "accepted", "rejected", "unknown", "failed", "given up":
	default:
		return fmt.Errorf(`verdict = %q; "accepted", "rejected", "unknown", "failed" and "given up" are allowed`, c.Expect.Verdict)
	}
	c.Expect.requests = c.Expect.Requests != nil
	return err
}

func merge(e hcl.Expression, set func(name string, value any) error) error {
	v, diags := e.Value(nil)
	if diags.HasErrors() {
		return errors.New(strings.ReplaceAll(diags.Error(), "\n", " "))
	}
	if v.IsNull() {
		return nil
	}
	if !v.Type().IsObjectType() {
		return errors.New("{ name = value, ... } is expected")
	}
	for name, element := range v.AsValueMap() {
		if err := set(name, config.Plain(element)); err != nil {
			return err
		}
	}
	return nil
}
