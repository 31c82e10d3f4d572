package events_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
)

func TestEveryPayloadSurvivesBothEncodings(t *testing.T) {
	login := events.Login{LoginID: "0190", Service: "partners", User: "alice", Peer: "192.0.2.1:5000", Trial: true}
	for _, data := range []events.Payload{
		&events.LoginAccepted{Login: login, Method: "accounts", Factors: []string{"code"}, Groups: []string{"default"}, TLS: "TLS 1.3", DurationMS: 31},
		&events.LoginRefused{Login: login, Reason: events.WrongPassword, Method: "accounts", DurationMS: 1000},
		&events.MethodResult{Login: login, Verdict: events.MethodAcceptedType, Method: "a", Ignored: []string{"home"}},
		&events.MethodResult{Login: login, Verdict: events.MethodRejectedType, Method: "a", Reason: events.Rejected},
		&events.MethodResult{Login: login, Verdict: events.MethodUnknownType, Method: "a"},
		&events.MethodResult{Login: login, Verdict: events.MethodFailedType, Method: "a", Reason: events.TimedOut},
		&events.MethodResult{Login: login, Verdict: events.MethodSkippedType, Method: "a", Reason: events.MethodStopped},
		&events.AccountChanged{Change: events.AccountChangedType, Account: "alice", Fields: []string{"email"}},
		&events.AccountChanged{Change: events.AccountLockedType, Account: "alice", Until: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Source: "192.0.2.1"},
		&events.PasswordChanged{Change: events.PasswordExpiringType, Account: "alice", Until: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		&events.AccountChanged{Change: events.AccountExpiringType, Account: "alice", Until: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		&events.SourceChanged{Change: events.SourceBannedType, Source: "192.0.2.1", Until: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		&events.PasswordChanged{Change: events.PasswordRefusedType, Account: "alice", Self: true, Rules: []string{"length"}},
		&events.ApproverChanged{Change: events.ApproverRevokedType, Approver: "desk", Key: "U1", Accounts: []string{"alice"}, Groups: []string{"default"}},
		&events.SessionOpened{Login: login, SessionID: "s", TLS: "TLS 1.2"},
		&events.SessionClosed{Login: login, SessionID: "s", Reason: events.ClientQuit, DurationMS: 7, FilesUp: 1, FilesDown: 2, BytesReceived: 3, BytesSent: 4},
		&events.ServerStarted{Name: "n", Version: "v", Services: []string{"partners"}, Methods: []string{"accounts"}},
		&events.ServerStopped{Name: "n", UptimeMS: 9},
	} {
		t.Run(string(data.EventType()), func(t *testing.T) {
			want := events.Event{ID: "0190-id", Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Source: "/sallyport/n", Data: data}
			header, body, err := want.Encode()
			if err != nil {
				t.Fatal(err)
			}
			got, err := events.Decode(header, body)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("binary mode: got %+v, want %+v", got, want)
			}
			text, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			var again events.Event
			if err := json.Unmarshal(text, &again); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(again, want) {
				t.Errorf("structured mode: got %+v, want %+v", again, want)
			}
		})
	}
}

func TestDecodeTellsANewerTypeFromADamagedEvent(t *testing.T) {
	header := map[string][]string{"ce-id": {"x"}, "ce-type": {"sallyport.v1.moon.landed"}, "ce-time": {"2026-01-02T03:04:05Z"}}
	if _, err := events.Decode(header, []byte("{}")); !errors.Is(err, events.ErrUnknownType) {
		t.Errorf("newer type: got %v, want ErrUnknownType", err)
	}
	header["ce-type"] = []string{string(events.LoginRefusedType)}
	if _, err := events.Decode(header, []byte("{")); err == nil || errors.Is(err, events.ErrUnknownType) {
		t.Errorf("damaged body: got %v, want another error", err)
	}
	header["ce-time"] = nil
	if _, err := events.Decode(header, []byte("{}")); err == nil {
		t.Error("no time: want an error")
	}
}

func TestReasonsAreAClosedList(t *testing.T) {
	if !events.WrongPassword.Known() || events.Reason("because").Known() || events.Reason("").Known() {
		t.Error("Known is wrong")
	}
}
