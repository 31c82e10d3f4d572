package sandbox_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"

	"github.com/sallyport-ftps/sallyport/host/endpoint"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/sdk"
)

const sharedSecret = "shared-4711"

// radiusCall is a login at a server, with settings in pairs.
func radiusCall(t *testing.T, r *sandbox.Runtime, address, user, password string, more ...any) sandbox.Call {
	t.Helper()
	e, err := endpoint.Parse("udp://"+address, endpoint.Sockets())
	if err != nil {
		t.Fatal(err)
	}
	reach := r.NewReach(sandbox.Grants{Network: []endpoint.Endpoint{e}}, limits())
	t.Cleanup(reach.Close)
	settings := map[string]any{"server": "udp://" + address, "secret": sharedSecret, "timeout": "5s", "group_map": []any{"sales => uk-sales", "* => default"}}
	for i := 0; i < len(more); i += 2 {
		settings[more[i].(string)] = more[i+1]
	}
	return sandbox.Call{
		Fields: map[string]string{"user": user, "client.ip": "192.0.2.1"}, Settings: settings,
		Password: secret.New(password), SeesPassword: true, Reach: reach,
	}
}

func radiusPlugin(t *testing.T) (*sandbox.Runtime, *sandbox.Plugin) {
	t.Helper()
	wasm, err := buildGuest(t.TempDir(), "../../plugins/radius")
	if err != nil {
		t.Fatal(err)
	}
	r := newRuntime(t)
	return r, loadOn(t, r, wasm, patient)
}

// The bundled RADIUS method against a real FreeRADIUS.
func TestRADIUS(t *testing.T) {
	server := startFreeRADIUS(t)
	r, p := radiusPlugin(t)
	for name, c := range map[string]struct {
		user, password string
		more           []any
		want           sdk.Verdict
		fields         string // reason, or the groups
	}{
		"right":                     {"alice", "open sesame", nil, sdk.Accept, "uk-sales,default"},
		"wrong":                     {"alice", "guess", nil, sdk.Reject, "wrong_password"},
		"nobody":                    {"nobody", "open sesame", nil, sdk.Reject, "wrong_password"},
		"no group":                  {"bob", "open sesame", nil, sdk.Accept, "default"},
		"of another block size":     {"long", strings.Repeat("x", 100), nil, sdk.Accept, "default"},
		"too long":                  {"alice", strings.Repeat("x", 129), nil, sdk.Reject, "wrong_password"},
		"wrong secret":              {"alice", "open sesame", []any{"secret", "other", "timeout", "100ms", "tries", 2.0}, sdk.Fail, ""},
		"challenge":                 {"carol", "open sesame123456", []any{"code_digits", 6.0}, sdk.Accept, "default"},
		"challenge, wrong code":     {"carol", "open sesame654321", []any{"code_digits", 6.0}, sdk.Reject, "wrong_code"},
		"challenge, no code":        {"carol", "open sesame", []any{"code_digits", 6.0}, sdk.Reject, "wrong_code"},
		"challenge, not expected":   {"carol", "open sesame", nil, sdk.Reject, "wrong_code"},
		"code that nobody asks for": {"alice", "open sesame123456", []any{"code_digits", 6.0}, sdk.Reject, "wrong_password"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := p.Run(t.Context(), radiusCall(t, r, server, c.user, c.password, c.more...))
			if got.Verdict != c.want || (err != nil) != (c.want == sdk.Fail) {
				t.Fatalf("got %v, %v; want %v", got.Verdict, err, c.want)
			}
			if got.Fields["reason"]+got.Fields["account.groups"] != c.fields {
				t.Errorf("got %q; want %q", got.Fields, c.fields)
			}
		})
	}
}

// A server that lies, or somebody on the way who does, lets nobody in: what is not the server's answer is
// dropped, and the request is sent again until nobody answers.
func TestRADIUSTakesNoForgedAnswer(t *testing.T) {
	r, p := radiusPlugin(t)
	for name, c := range map[string]struct {
		forge func(request *radius.Packet, wire []byte) []byte
		want  sdk.Verdict
	}{
		"right":                         {signedAnswer, sdk.Accept},
		"without Message-Authenticator": {func(q *radius.Packet, _ []byte) []byte { return encode(q.Response(radius.CodeAccessAccept)) }, sdk.Fail},
		"wrong Message-Authenticator": {func(q *radius.Packet, _ []byte) []byte {
			answer := q.Response(radius.CodeAccessAccept)
			answer.Add(80, make([]byte, 16))
			return encode(answer)
		}, sdk.Fail},
		"another secret": {func(q *radius.Packet, wire []byte) []byte {
			q.Secret = []byte("other")
			return signedAnswer(q, wire)
		}, sdk.Fail},
		"another identifier": {func(q *radius.Packet, wire []byte) []byte {
			q.Identifier++
			return signedAnswer(q, wire)
		}, sdk.Fail},
		"the request itself": {func(_ *radius.Packet, wire []byte) []byte { return wire }, sdk.Fail},
		"garbage":            {func(*radius.Packet, []byte) []byte { return []byte("garbage") }, sdk.Fail},
		"nothing":            {func(*radius.Packet, []byte) []byte { return nil }, sdk.Fail},
		"cut": {func(q *radius.Packet, wire []byte) []byte {
			answer := signedAnswer(q, wire)
			return answer[:len(answer)-3]
		}, sdk.Fail},
		"a changed code": {func(q *radius.Packet, wire []byte) []byte {
			answer := signedAnswer(q, wire)
			answer[0] = byte(radius.CodeAccessReject)
			return answer
		}, sdk.Fail},
	} {
		t.Run(name, func(t *testing.T) {
			address, requests := forger(t, c.forge)
			got, err := p.Run(t.Context(), radiusCall(t, r, address, "alice", "open sesame", "timeout", "100ms", "tries", 3.0))
			if got.Verdict != c.want {
				t.Fatalf("got %v, %v", got.Verdict, err)
			}
			if n := requests(); c.want == sdk.Fail && n != 3 {
				t.Errorf("%d requests; 3 tries", n)
			}
		})
	}
}

// signedAnswer is an Access-Accept as RFC 2865 and 2869 want it.
func signedAnswer(q *radius.Packet, wire []byte) []byte {
	answer := q.Response(radius.CodeAccessAccept)
	answer.Add(80, make([]byte, 16))
	unsigned := encode(answer)
	copy(unsigned[4:20], wire[4:20])
	mac := hmac.New(md5.New, q.Secret)
	mac.Write(unsigned)
	answer.Set(80, mac.Sum(nil))
	return encode(answer)
}

func encode(p *radius.Packet) []byte {
	wire, err := p.Encode()
	if err != nil {
		panic(err)
	}
	return wire
}

// forger answers each request with what forge makes of it.
func forger(t *testing.T, forge func(*radius.Packet, []byte) []byte) (address string, requests func() int) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan int)
	go func() {
		n := 0
		defer func() { done <- n }()
		buffer := make([]byte, 4096)
		for {
			size, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			n++
			wire := bytes.Clone(buffer[:size])
			request, err := radius.Parse(wire, []byte(sharedSecret))
			if err != nil || rfc2865.UserPassword_GetString(request) != "open sesame" {
				t.Errorf("request: %v", err)
				continue
			}
			if answer := forge(request, wire); answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return conn.LocalAddr().String(), func() int { _ = conn.Close(); return <-done }
}

func startFreeRADIUS(t *testing.T) (address string) {
	t.Helper()
	program, err := exec.LookPath("freeradius")
	if err != nil {
		program = "/usr/sbin/freeradius"
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatal("freeradius is not there: install it (make deps does)")
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = conn.LocalAddr().String()
	_ = conn.Close()
	_, port, _ := net.SplitHostPort(address)
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("users", "alice Cleartext-Password := \"open sesame\"\n\tClass = \"sales\"\nbob Cleartext-Password := \"open sesame\"\n\nlong Cleartext-Password := \""+strings.Repeat("x", 100)+"\"\n\ncarol Cleartext-Password := \"open sesame\"\n\n")
	write("radiusd.conf", fmt.Sprintf(freeRADIUS, dir, port, sharedSecret))
	var log syncBuffer
	server := exec.Command(program, "-f", "-l", "stdout", "-d", dir)
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for range 300 {
		if strings.Contains(log.String(), "Ready to process requests") {
			return address
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("freeradius does not start: %s", log.String())
	return ""
}

const freeRADIUS = `
prefix = /usr
libdir = /usr/lib/freeradius
raddbdir = %[1]s
logdir = %[1]s
run_dir = %[1]s
db_dir = %[1]s
radacctdir = %[1]s
pidfile = %[1]s/pid
name = freeradius
proxy_requests = no
log {
  destination = stdout
}
security {
  reject_delay = 0
  max_attributes = 200
  status_server = yes
}
modules {
  pap {
  }
  always handled {
    rcode = handled
  }
  files {
    filename = ${raddbdir}/users
  }
}
server default {
  client local {
    ipaddr = 127.0.0.1
    secret = %[3]s
    require_message_authenticator = yes
  }
  listen {
    type = auth
    ipaddr = 127.0.0.1
    port = %[2]s
  }
  authorize {
    if (&User-Name == "carol" && &State) {
      if (&User-Password == "123456") {
        update control {
          &Auth-Type := Accept
        }
      }
      else {
        update control {
          &Auth-Type := Reject
        }
      }
    }
    else {
      files
      pap
    }
  }
  authenticate {
    Auth-Type PAP {
      pap
      if (ok && &User-Name == "carol") {
        update control {
          &Response-Packet-Type := Access-Challenge
        }
        update reply {
          &State := 0x01
          &Reply-Message := "Your code?"
          &Message-Authenticator := 0x00
        }
        handled
      }
    }
  }
  post-auth {
    update reply {
      &Message-Authenticator := 0x00
    }
    Post-Auth-Type REJECT {
      update reply {
        &Message-Authenticator := 0x00
      }
    }
  }
}
`
