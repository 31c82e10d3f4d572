package events_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sallyport-ftps/sallyport/events"
)

var update = flag.Bool("update", false, "write the schemas and README.md anew")

// examples has one of each type.
func examples() []events.Payload {
	login := events.Login{LoginID: "01a21c37-08a1-7711-bd59-fe2cec95f744", Service: "partners", User: "alice", Peer: "192.0.2.7:50312"}
	later := time.Date(2026, 11, 27, 9, 15, 0, 0, time.UTC)
	method := func(t events.Type, reason events.Reason) events.Payload {
		return &events.MethodResult{Login: login, Verdict: t, Method: "accounts", Reason: reason, DurationMS: 21}
	}
	approval := func(t events.Type, reason events.Reason) events.Payload {
		return &events.Approval{Login: login, State: t, Factor: "phone", Reason: reason, DurationMS: 6400}
	}
	account := func(t events.Type, fields ...string) events.Payload {
		return &events.AccountChanged{Change: t, Account: "alice", Fields: fields}
	}
	return []events.Payload{
		&events.LoginAccepted{Login: login, Method: "accounts", Factors: []string{"phone"}, Groups: []string{"partners"}, TLS: "TLS 1.3", DurationMS: 6440},
		&events.LoginRefused{Login: login, Reason: events.WrongPassword, Method: "accounts", DurationMS: 31},
		&events.Refusals{Source: "192.0.2.66", Count: 712, Reasons: map[events.Reason]int{events.SourceBanned: 700, events.WrongPassword: 12}, Accounts: []string{"alice"}, From: later.Add(-time.Minute), Until: later},
		method(events.MethodAcceptedType, ""), method(events.MethodRejectedType, events.WrongPassword), method(events.MethodUnknownType, events.UnknownUser),
		method(events.MethodFailedType, events.TimedOut), method(events.MethodSkippedType, events.MethodStopped),
		&events.SessionOpened{Login: login, SessionID: "s-17", TLS: "TLS 1.3"},
		&events.SessionClosed{Login: login, SessionID: "s-17", Reason: events.ClientQuit, DurationMS: 91200, FilesUp: 3, FilesDown: 1, BytesReceived: 10485760, BytesSent: 2048, DataConns: 5, DataResumed: 5},
		&events.ConnectionRefused{Service: "partners", Peer: "192.0.2.66:40112", Reason: events.BadCertificate, Detail: `client certificate "CN=alice" (serial 7) was revoked at 2026-11-26T09:15:00Z`, Count: 3},
		approval(events.ApprovalRequestedType, ""), approval(events.ApprovalDeliveredType, ""), approval(events.ApprovalApprovedType, ""), approval(events.ApprovalDeniedType, events.ApprovalDenied),
		approval(events.ApprovalExpiredType, events.ApprovalExpired), approval(events.ApprovalCancelledType, events.ClientLeft), approval(events.ApprovalSuspendedType, events.ApprovalLost),
		approval(events.ApprovalFrozenType, events.ApprovalFrozen), approval(events.ApprovalRememberedType, ""),
		&events.DecisionRefused{Key: "UAP4NCAIK7SIOKSGG2K6FNM2HBAJEO77FC2DEVRYLSZVTPBAMJYSI6QH", Request: "01a21c37-0dc9-7234-9fcb-bbaf043f05b9", Reason: events.BadSignature},
		account(events.AccountCreatedType), account(events.AccountChangedType, "email", "groups"), account(events.AccountEnabledType), account(events.AccountDisabledType), account(events.AccountDeletedType, "files"),
		&events.AccountChanged{Change: events.AccountExpiringType, Account: "alice", Until: later},
		&events.PasswordChanged{Change: events.PasswordExpiringType, Account: "alice", Until: later},
		&events.AccountChanged{Change: events.AccountLockedType, Account: "alice", Until: later, Source: "192.0.2.66"},
		&events.SourceChanged{Change: events.SourceBannedType, Source: "192.0.2.66", Until: later}, &events.SourceChanged{Change: events.SourceUnbannedType, Source: "192.0.2.66"},
		account(events.AccountUnlockedType),
		&events.PasswordChanged{Change: events.PasswordChangedType, Account: "alice", Self: true},
		&events.PasswordChanged{Change: events.PasswordRefusedType, Account: "alice", Self: true, Rules: []string{"length", "strength"}},
		&events.ApproverChanged{Change: events.ApproverEnrolledType, Approver: "desk", Key: "UAP4NCAIK7SIOKSGG2K6FNM2HBAJEO77FC2DEVRYLSZVTPBAMJYSI6QH", Groups: []string{"partners"}},
		&events.ApproverChanged{Change: events.ApproverRevokedType, Approver: "desk", Key: "UAP4NCAIK7SIOKSGG2K6FNM2HBAJEO77FC2DEVRYLSZVTPBAMJYSI6QH"},
		&events.File{Login: login, What: events.FileUploadedType, SessionID: "s-17", Path: "/in/order 17.xml", Bytes: 10485760, DurationMS: 840, SHA256: strings.Repeat("9f", 32)},
		&events.File{Login: login, What: events.FileDownloadedType, SessionID: "s-17", Path: "/out/report.pdf", Bytes: 2048, DurationMS: 12},
		&events.File{Login: login, What: events.FileInterruptedType, SessionID: "s-17", Path: "/in/order 18.xml", Direction: "up", Reason: events.DataStalled, Bytes: 65536, DurationMS: 31000},
		&events.File{Login: login, What: events.FileDeletedType, SessionID: "s-17", Path: "/in/order 16.xml"},
		&events.File{Login: login, What: events.FileRenamedType, SessionID: "s-17", Path: "/in/order 17.xml", To: "/done/order 17.xml"},
		&events.ServerStarted{Name: "vault", Version: "0.1.0", Services: []string{"partners"}, Methods: []string{"accounts", "phone"}},
		&events.ServerStopped{Name: "vault", UptimeMS: 86400000},
		&events.ServerReloaded{Name: "vault", Services: []string{"partners"}, Methods: []string{"accounts", "phone"}},
		&events.ServerDegraded{Name: "vault", Reason: events.EventNotStored, Since: later},
		&events.ServerRestored{Name: "vault", Reason: events.EventNotStored, Lost: 101},
		&events.KeyRotated{Accounts: 42},
		&events.Mail{State: events.MailSentType, Account: "alice", Contents: []string{"invitation", "codes"}}, &events.Mail{State: events.MailFailedType, Account: "alice", Contents: []string{"password"}},
	}
}

// example is the payload as a whole event.
func example(data events.Payload) events.Event {
	return events.Event{
		ID: "01a21c37-11bc-76ad-bec0-421b0a43882f", Time: time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC), Source: "/sallyport/vault",
		Stream: data.EventType().Stream(), Boot: "6a8f0a2e-6d0f-4b8e-9a55-3f1f0d0c7c11", Sequence: 17, Data: data,
	}
}

func short(t events.Type) string { return strings.TrimPrefix(string(t), events.Root+".") }

// The schemas and the page are what the types say, and each example is what the schema of its type says.
func TestCatalogue(t *testing.T) {
	docs := parseDocs(t)
	byType := map[events.Type]events.Payload{}
	for _, data := range examples() {
		if byType[data.EventType()] != nil {
			t.Errorf("%s has two examples", data.EventType())
		}
		byType[data.EventType()] = data
	}
	if len(byType) != len(events.Types()) || len(docs.consts) != len(events.Types()) {
		t.Fatalf("%d examples, %d types, %d constants", len(byType), len(events.Types()), len(docs.consts))
	}
	files := map[string][]byte{}
	for _, kind := range events.Types() {
		data := byType[kind]
		if data == nil {
			t.Fatalf("%s has no example", kind)
		}
		schema, err := json.MarshalIndent(docs.schema(data), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Join("schema", short(kind)+".json")] = append(schema, '\n')
	}
	files["README.md"] = docs.page(t, byType)
	for name, want := range files {
		if *update {
			_ = os.MkdirAll(filepath.Dir(name), 0o755)
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("events/%s is not what the types say (%v): go test ./events -run TestCatalogue -update", name, err)
		}
	}
	stored, _ := filepath.Glob("schema/*.json")
	if len(stored) != len(events.Types()) {
		t.Errorf("%d schemas of %d types", len(stored), len(events.Types()))
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	for kind, data := range byType {
		schema, err := compiler.Compile("schema/" + short(kind) + ".json")
		if err != nil {
			t.Fatal(err)
		}
		check := func(text []byte) error {
			value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			return schema.Validate(value)
		}
		text, err := json.Marshal(example(data))
		if err != nil {
			t.Fatal(err)
		}
		if err := check(text); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		for _, wrong := range []string{`"secret":"x",`, ``} { // a field that is not there; another type
			broken := strings.Replace(string(text), `"data":{`, `"data":{`+wrong, 1)
			if wrong == "" {
				broken = strings.Replace(string(text), string(kind), "sallyport.v1.moon.landed", 1)
			}
			if check([]byte(broken)) == nil {
				t.Errorf("%s: the schema takes %s", kind, broken)
			}
		}
	}
}

// docs is what the comments of the package say.
type docs struct {
	consts  map[string]string            // type to when it comes
	order   []string                     // reasons
	reasons map[string]string            // to what they mean
	structs map[string]string            // to what they are
	fields  map[string]map[string]string // struct, field
}

func parseDocs(t *testing.T) docs {
	t.Helper()
	d := docs{map[string]string{}, nil, map[string]string{}, map[string]string{}, map[string]map[string]string{}}
	file, err := parser.ParseFile(token.NewFileSet(), "events.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	text := func(groups ...*ast.CommentGroup) string {
		var all []string
		for _, g := range groups {
			if g != nil {
				all = append(all, strings.Fields(g.Text())...)
			}
		}
		return strings.Join(all, " ")
	}
	for _, decl := range file.Decls {
		g, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range g.Specs {
			switch s := spec.(type) {
			case *ast.ValueSpec:
				kind, ok := s.Type.(*ast.Ident)
				if g.Tok != token.CONST || !ok {
					continue
				}
				switch value := s.Values[0].(type) {
				case *ast.BinaryExpr:
					d.consts[events.Root+strings.Trim(value.Y.(*ast.BasicLit).Value, `"`)] = text(s.Comment)
				case *ast.BasicLit:
					if kind.Name == "Reason" {
						name := strings.Trim(value.Value, `"`)
						d.reasons[name] = text(s.Comment)
						d.order = append(d.order, name)
					}
				}
			case *ast.TypeSpec:
				st, ok := s.Type.(*ast.StructType)
				if !ok {
					continue
				}
				d.structs[s.Name.Name], d.fields[s.Name.Name] = text(g.Doc), map[string]string{}
				for _, f := range st.Fields.List {
					for _, name := range f.Names {
						d.fields[s.Name.Name][name.Name] = text(f.Doc, f.Comment)
					}
				}
			}
		}
	}
	return d
}

type object = map[string]any

// schema is the JSON Schema of a whole event.
func (d docs) schema(data events.Payload) object {
	kind := data.EventType()
	stream := kind.Stream()
	payload := d.structure(reflect.TypeOf(data).Elem())
	payload["description"] = d.structs[reflect.TypeOf(data).Elem().Name()]
	return object{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://github.com/sallyport-ftps/sallyport/events/schema/" + short(kind) + ".json",
		"title": string(kind), "description": d.consts[string(kind)], "type": "object", "additionalProperties": false,
		"required": []string{"specversion", "id", "type", "source", "time", "data"},
		"properties": object{
			"specversion": object{"const": "1.0"}, "id": object{"type": "string", "format": "uuid"}, "type": object{"const": string(kind)},
			"source": object{"type": "string", "pattern": "^/sallyport/"}, "time": object{"type": "string", "format": "date-time"},
			"stream": object{"const": stream}, "boot": object{"type": "string", "format": "uuid"}, "sequence": object{"type": "integer", "minimum": 1}, "data": payload,
		},
	}
}

func (d docs) structure(t reflect.Type) object {
	properties, required := object{}, []string{}
	d.eachField(t, func(f reflect.StructField, name string, optional bool, doc string) {
		value := d.value(f.Type)
		if doc != "" {
			value["description"] = doc
		}
		properties[name] = value
		if !optional {
			required = append(required, name)
		}
	})
	return object{"type": "object", "additionalProperties": false, "properties": properties, "required": required}
}

// eachField goes through the fields as JSON has them.
func (d docs) eachField(t reflect.Type, do func(f reflect.StructField, name string, optional bool, doc string)) {
	for f := range t.Fields() {
		if f.Anonymous {
			d.eachField(f.Type, do)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "-" {
			do(f, name, strings.HasPrefix(options, "omit"), d.fields[t.Name()][f.Name])
		}
	}
}

func (d docs) value(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[events.Reason]():
		return object{"type": "string", "enum": d.order}
	case t.Kind() == reflect.Map:
		return object{"type": "object", "propertyNames": object{"enum": d.order}, "additionalProperties": d.value(t.Elem())}
	case t.Kind() == reflect.Slice:
		return object{"type": "array", "items": d.value(t.Elem())}
	case t.Kind() == reflect.String:
		return object{"type": "string"}
	case t.Kind() == reflect.Bool:
		return object{"type": "boolean"}
	}
	return object{"type": "integer"}
}

// page is README.md.
func (d docs) page(t *testing.T, byType map[events.Type]events.Payload) []byte {
	t.Helper()
	head, err := os.ReadFile(filepath.Join("testdata", "head.md"))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.Write(head)
	fmt.Fprintf(&b, "\n## All types\n\n| type | stream | when |\n|---|---|---|\n")
	for _, kind := range events.Types() {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s |\n", short(kind), anchor(kind), kind.Stream(), d.consts[string(kind)])
	}
	fmt.Fprintf(&b, "\n## Reasons\n\nThe list is closed: a program can branch on it, and a newer server may add to it.\n\n| reason | |\n|---|---|\n")
	for _, reason := range d.order {
		fmt.Fprintf(&b, "| `%s` | %s |\n", reason, d.reasons[reason])
	}
	var written []string
	for _, kind := range events.Types() {
		data := byType[kind]
		name := reflect.TypeOf(data).Elem().Name()
		fmt.Fprintf(&b, "\n## %s\n\n%s. ", short(kind), d.consts[string(kind)])
		if at := slices.Index(written, name); at < 0 {
			fmt.Fprintf(&b, "%s\n\n", d.structs[name])
		} else {
			fmt.Fprintf(&b, "Its fields are those of %s.\n\n", name)
		}
		if !slices.Contains(written, name) {
			written = append(written, name)
			fmt.Fprintf(&b, "| field | | |\n|---|---|---|\n")
			d.eachField(reflect.TypeOf(data).Elem(), func(f reflect.StructField, name string, optional bool, doc string) {
				fmt.Fprintf(&b, "| `%s` | %s%s | %s |\n", name, kindOf(f.Type), map[bool]string{true: "", false: ", always"}[optional], doc)
			})
			fmt.Fprintln(&b)
		}
		text, err := json.MarshalIndent(example(data), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "```json\n%s\n```\n", text)
	}
	return b.Bytes()
}

func anchor(kind events.Type) string { return strings.ReplaceAll(short(kind), ".", "") }

func kindOf(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "time"
	case t == reflect.TypeFor[events.Reason]():
		return "reason"
	case t.Kind() == reflect.Map:
		return "numbers by reason"
	case t.Kind() == reflect.Slice:
		return "list"
	case t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Bool:
		return "true"
	}
	return "number"
}

// No field of an event may hold a secret: the types that can are not among theirs.
func TestNoFieldHoldsASecret(t *testing.T) {
	for _, data := range examples() {
		var walk func(t reflect.Type, path string)
		walk = func(of reflect.Type, path string) {
			switch of.Kind() {
			case reflect.Struct:
				if of == reflect.TypeFor[time.Time]() {
					return
				}
				for f := range of.Fields() {
					if strings.Contains(strings.ToLower(f.Name), "password") && f.Type.Kind() == reflect.String {
						t.Errorf("%s: %s.%s", data.EventType(), path, f.Name)
					}
					walk(f.Type, path+"."+f.Name)
				}
			case reflect.Slice:
				if of.Elem().Kind() == reflect.Uint8 {
					t.Errorf("%s: %s is bytes", data.EventType(), path)
				}
				walk(of.Elem(), path)
			case reflect.Map:
				if of != reflect.TypeFor[map[events.Reason]int]() {
					t.Errorf("%s: %s is a map of anything", data.EventType(), path)
				}
			case reflect.Interface:
				t.Errorf("%s: %s is anything", data.EventType(), path)
			}
		}
		walk(reflect.TypeOf(data).Elem(), short(data.EventType()))
	}
}
