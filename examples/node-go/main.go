// A node of the mesh by its subjects alone: docs/protocol.md, "A node by plain NATS", in Go.
//
//	go run . -id anna -seed ../../.mesh/keys/anna.nk
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// steps is work that can go on elsewhere: it saves each step it has done.
func steps(ctx context.Context, task *Task) (any, error) {
	done := len(task.Saved) // one byte a step is all there is to remember
	first := done + 1
	for done < 12 {
		select {
		case <-time.After(500 * time.Millisecond): // the work
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		done++
		if err := task.Checkpoint(make([]byte, done)); err != nil {
			return nil, err
		}
		task.Progress(map[string]int{"step": done})
	}
	return map[string]int{"first": first, "last": done}, nil
}

func shout(_ context.Context, task *Task) (any, error) {
	if len(task.Payload) == 0 {
		return nil, &Failure{Code: "nothing_to_shout", Message: "the payload is empty", Retryable: false}
	}
	return strings.ToUpper(string(task.Payload)), nil
}

func main() {
	log.SetFlags(log.Ltime)
	id := flag.String("id", "anna", "the node's id; the seed must be that node's")
	seed := flag.String("seed", ".mesh/keys/anna.nk", "file with the nkey seed")
	url := flag.String("url", "nats://127.0.0.1:4222", "where NATS is")
	slots := flag.Int("slots", 4, "tasks at once")
	flag.Parse()

	node, err := Connect(*url, *id, *seed, *slots)
	if err != nil {
		log.Fatal(err)
	}
	node.Handle("steps", steps)
	node.Handle("shout", shout)

	stop, release := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer release()
	go func() {
		<-stop.Done()
		node.Drain(30 * time.Second)
	}()
	// One life after the other, until it is drained.
	for {
		err := node.Live()
		if err == nil {
			return
		}
		log.Printf("a life ended: %v", err)
		if refused := (*Failure)(nil); errors.As(err, &refused) && !refused.Retryable {
			os.Exit(1)
		}
		time.Sleep(500 * time.Millisecond)
	}
}
