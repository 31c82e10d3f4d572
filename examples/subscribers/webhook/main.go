// A forwarder to a webhook: each event is sent as one CloudEvents JSON object by POST, at least once, in order, and signed.
// What the receiver does not take is tried again for a while, and then kept in a file of dead letters.
//
//	go run ./examples/subscribers/webhook -to https://siem.example.org/hook -secret-file hook.secret -types login,account
//
// The receiver checks the header Sallyport-Signature: "t=UNIX TIME,v1=HEX", where HEX is the HMAC-SHA256, with the secret, of the
// time, a full stop, and the body. It should refuse a time that is minutes old, and may see an event twice: the same id.
package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/events/subscriber"
)

func main() {
	server := flag.String("url", "nats://127.0.0.1:4222", "events { listen } of config.hcl")
	user := flag.String("user", "subscriber", `a user of events { }, or "subscriber", which is always there`)
	seed := flag.String("seed", "data/private/subscriber.nk", "the user's key")
	types := flag.String("types", "", "types or families to send, such as login,account; empty: all")
	to := flag.String("to", "", "URL of the receiver")
	secretFile := flag.String("secret-file", "", "file with the secret that bodies are signed with; 32 characters or more")
	tries := flag.Int("tries", 60, "how often an event is tried, with pauses from half a second on, each twice as long, at most a minute: about an hour")
	dead := flag.String("dead-letters", "dead-letters.jsonl", "file for what was never taken")
	flag.Parse()

	if target, err := url.Parse(*to); err != nil || target.Scheme != "https" && target.Scheme != "http" || target.Host == "" {
		log.Fatalf("-to %q: the URL of the receiver is expected, such as https://siem.example.org/hook", *to)
	}
	secret, err := os.ReadFile(*secretFile)
	if err != nil {
		log.Fatal(err)
	}
	secret = bytes.TrimSpace(secret)
	if len(secret) < 32 || *to == "" {
		log.Fatal("-to and a secret of 32 characters or more are needed")
	}
	letters, err := os.OpenFile(*dead, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = letters.Close() }()
	conn, err := subscriber.Connect(*server, *user, *seed)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	h := hook{url: *to, secret: secret, tries: *tries, letters: letters, client: &http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	filter := subscriber.Filter{User: *user}
	if *types != "" {
		filter.Types = strings.Split(*types, ",")
	}
	fmt.Println("subscribed")
	if err := subscriber.Subscribe(ctx, conn, filter, h.send); err != nil {
		log.Fatal(err)
	}
}

// hook is the receiver.
type hook struct {
	url     string
	secret  []byte
	tries   int
	letters *os.File
	client  *http.Client
}

// send gives an event to the receiver, or to the dead letters. Its error means that it has to come again.
func (h hook) send(ctx context.Context, e events.Event) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	pause := 500 * time.Millisecond
	for try := 1; ; try++ {
		err := h.post(ctx, body)
		if err == nil {
			return nil
		}
		log.Printf("event %s, try %d: %v", e.ID, try, err)
		var final *refusedError
		if try == h.tries || errors.As(err, &final) {
			break
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, time.Minute)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	log.Printf("event %s goes to the dead letters", e.ID)
	_, err = h.letters.Write(append(body, '\n'))
	return errors.Join(err, h.letters.Sync())
}

// refusedError is an answer that will not be another one next time.
type refusedError struct{ status string }

func (e *refusedError) Error() string { return "the receiver answered " + e.status }

func (h hook) post(ctx context.Context, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/cloudevents+json")
	request.Header.Set("Sallyport-Signature", sign(h.secret, time.Now(), body))
	response, err := h.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection can be used again
	switch status := response.StatusCode; {
	case status < 300:
		return nil
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge, status == http.StatusUnsupportedMediaType, status == http.StatusUnprocessableEntity:
		return &refusedError{response.Status} // it does not like this event; anything else may be mended
	}
	return fmt.Errorf("the receiver answered %s", response.Status)
}

func sign(secret []byte, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	_, _ = fmt.Fprintf(mac, "%d.%s", at.Unix(), body)
	return fmt.Sprintf("t=%d,v1=%s", at.Unix(), hex.EncodeToString(mac.Sum(nil)))
}
