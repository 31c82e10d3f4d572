// A subscriber in Go: it prints who logged in and who was refused, as it happens, and goes on where it stopped.
//
//	go run ./examples/subscribers/go -seed data/private/subscriber.nk
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/events/subscriber"
)

func main() {
	url := flag.String("url", "nats://127.0.0.1:4222", "events { listen } of config.hcl")
	user := flag.String("user", "subscriber", `a user of events { }, or "subscriber", which is always there`)
	seed := flag.String("seed", "data/private/subscriber.nk", "the user's key")
	types := flag.String("types", "", "types or families, such as login.refused,account; empty: all that the user may read")
	flag.Parse()

	conn, err := subscriber.Connect(*url, *user, *seed)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Println("subscribed")
	filter := subscriber.Filter{User: *user}
	if *types != "" {
		filter.Types = strings.Split(*types, ",")
	}
	if err := subscriber.Subscribe(ctx, conn, filter, show); err != nil {
		log.Fatal(err)
	}
}

func show(_ context.Context, e events.Event) error {
	at := e.Time.Local().Format("15:04:05")
	switch d := e.Data.(type) {
	case *events.LoginAccepted:
		fmt.Printf("%s  %s logged in from %s (%s)\n", at, d.User, d.Peer, d.Method)
	case *events.LoginRefused:
		who := d.User
		if who == "" {
			who = "somebody whom no method knows"
		}
		fmt.Printf("%s  %s was refused from %s: %s\n", at, who, d.Peer, d.Reason)
	default:
		fmt.Printf("%s  %s\n", at, e.Data.EventType())
	}
	return nil
}
