// An approver as a program: it approves logins from a network that it knows, and denies all others. A chat bot would ask
// somebody in its place.
//
//	sallyport approver enroll bot --seed bot.nk --group default
//	go run ./examples/subscribers/approver -seed bot.nk -network 10.0.0.0/8
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/signal"
	"time"

	"github.com/sallyport-ftps/sallyport/events/approver"
)

func main() {
	url := flag.String("url", "nats://127.0.0.1:4222", "events { listen } of config.hcl")
	seed := flag.String("seed", "approver.nk", "file with the seed of an enrolled key")
	network := flag.String("network", "127.0.0.0/8", "logins from there are approved")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *url, *seed, *network); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url, seed, network string) error {
	known, err := netip.ParsePrefix(network)
	if err != nil {
		return err
	}
	key, err := os.ReadFile(seed)
	if err != nil {
		return err
	}
	a, err := approver.Connect(ctx, url, string(key))
	if err != nil {
		return err
	}
	defer a.Close()
	fmt.Println("waiting for requests")
	for {
		r, err := a.Next(ctx)
		if err != nil {
			return err
		}
		if r.Withdrawn {
			continue
		}
		peer, err := netip.ParseAddrPort(r.Peer)
		approve := err == nil && known.Contains(peer.Addr())
		if err := a.Decide(ctx, r, approve); err != nil {
			return err
		}
		fmt.Printf("%s  %s from %s: %v\n", time.Now().Format(time.TimeOnly), r.User, r.Peer, approve)
	}
}
