// A subscriber in plain nats.go: it prints who logged in and who was refused, as it happens.
//
//	go run ./examples/subscribers/go -seed data/private/subscriber.nk
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/nats-io/nats.go"

	"github.com/sallyport-ftps/sallyport/events"
)

func main() {
	url := flag.String("url", "nats://127.0.0.1:4222", "events { listen } of config.hcl")
	seed := flag.String("seed", "data/private/subscriber.nk", "the subscriber's key, made by the server")
	flag.Parse()

	key, err := nats.NkeyOptionFromSeed(*seed)
	if err != nil {
		log.Fatal(err)
	}
	conn, err := nats.Connect(*url, key, nats.MaxReconnects(-1))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	// Any subject below works, such as sallyport.v1.login.refused for refusals only.
	if _, err := conn.Subscribe(events.Root+".>", show); err != nil {
		log.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("subscribed")

	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	<-interrupted
}

func show(m *nats.Msg) {
	e, err := events.Decode(m.Header, m.Data)
	if errors.Is(err, events.ErrUnknownType) {
		return // a newer server has more types
	}
	if err != nil {
		log.Print(err)
		return
	}
	switch d := e.Data.(type) {
	case *events.LoginAccepted:
		fmt.Printf("%s  %s logged in from %s (%s)\n", e.Time.Local().Format("15:04:05"), d.User, d.Peer, d.Method)
	case *events.LoginRefused:
		fmt.Printf("%s  %q was refused from %s: %s\n", e.Time.Local().Format("15:04:05"), d.User, d.Peer, d.Reason)
	default:
		fmt.Printf("%s  %s\n", e.Time.Local().Format("15:04:05"), e.Data.EventType())
	}
}
