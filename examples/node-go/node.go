package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const requestTimeout = 5 * time.Second

// Failure is how an error looks on the wire.
type Failure struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`
}

func (f *Failure) Error() string { return fmt.Sprintf("%s (%s)", f.Message, f.Code) }

// errLeaseLost ends a life: the mesh may have given this node's tasks to others.
var errLeaseLost = &Failure{Code: "lease_lost", Message: "the lease is lost", Retryable: true}

// Node runs tasks for the mesh. Everything below mu is shared with the goroutines of its tasks.
type Node struct {
	id       string
	nc       *nats.Conn
	slots    int
	handlers map[string]Handler
	drain    chan time.Duration

	mu          sync.Mutex
	incarnation uint64
	epoch       uint64 // the newest seen
	draining    bool
	running     map[string]*Task  // by task
	told        map[string][]byte // outcomes by task and attempt, to be told again when asked
	toldOrder   []string
}

// Connect opens the connection: its name lets the server's word that it closed be understood, and its
// inbox is the only one this user may hear.
func Connect(url, id, seedFile string, slots int) (*Node, error) {
	key, err := nats.NkeyOptionFromSeed(seedFile)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(url, key,
		nats.Name("node/"+id),
		nats.CustomInboxPrefix("_INBOX_"+id),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(200*time.Millisecond))
	if err != nil {
		return nil, err
	}
	return &Node{
		id: id, nc: nc, slots: slots,
		handlers: map[string]Handler{},
		drain:    make(chan time.Duration, 1),
		running:  map[string]*Task{},
		told:     map[string][]byte{},
	}, nil
}

// Handle names what the node can do. Call it before Live.
func (n *Node) Handle(capability string, handler Handler) { n.handlers[capability] = handler }

// Drain asks the node to take nothing new, to finish within the deadline, and to leave.
func (n *Node) Drain(deadline time.Duration) {
	select {
	case n.drain <- deadline:
	default: // it was asked already
	}
}

// Live is one life of the node, from joining to its end: nil when it left in order. Any other end means
// to begin anew.
func (n *Node) Live() error {
	ttl, err := n.register()
	if err != nil {
		return err
	}
	// Only now: an answer to a ping says that this life lives.
	sub, err := n.nc.Subscribe("mesh.node."+n.id+".*", n.hear)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	if err := n.nc.Flush(); err != nil {
		return err
	}
	lost := make(chan error, 1)
	end := make(chan struct{})
	defer close(end)
	go func() { lost <- n.holdLease(ttl, end) }()
	select {
	case err := <-lost:
		// Before anything else: others may be about to run them.
		n.stopAll(errLeaseLost)
		return err
	case deadline := <-n.drain:
		return n.leave(deadline)
	}
}

// register begins a life. An id in use may become free: whoever had it is perhaps just gone.
func (n *Node) register() (time.Duration, error) {
	host, _ := os.Hostname()
	capabilities := make([]string, 0, len(n.handlers))
	for capability := range n.handlers {
		capabilities = append(capabilities, capability)
	}
	body := map[string]any{
		"host": host, "cpu": runtime.NumCPU(), "version": "go example",
		"agents": []any{map[string]any{"name": "main", "capabilities": capabilities, "slots": n.slots}},
	}
	var welcome struct {
		Incarnation uint64 `json:"incarnation"`
		Config      struct {
			LeaseTTLMs int64 `json:"leaseTtlMs"`
		} `json:"config"`
	}
	if err := n.ask("mesh.registry.register."+n.id, body, nil, &welcome); err != nil {
		return 0, err
	}
	n.mu.Lock()
	n.incarnation = welcome.Incarnation
	n.mu.Unlock()
	return time.Duration(welcome.Config.LeaseTTLMs) * time.Millisecond, nil
}

// holdLease takes the lease, which makes the node ACTIVE, and renews it. It returns when the lease can no
// longer be trusted: a tenth before the server lets it go, by our own clock.
func (n *Node) holdLease(ttl time.Duration, end <-chan struct{}) error {
	last, trusted := uint64(0), time.Now().Add(ttl)
	for {
		sent := time.Now()
		seq, err := n.renewLease(ttl, last)
		switch {
		case err == nil:
			if last == 0 {
				log.Printf("%s is ready, life %d", n.id, n.incarnation)
			}
			last, trusted = seq, sent.Add(ttl-ttl/10)
		case isStoreError(err):
			return fmt.Errorf("somebody else has it: %w", err)
		case time.Now().After(trusted):
			return fmt.Errorf("it could not be renewed: %w", err)
		}
		wait := ttl / 3
		if err != nil {
			wait = 200 * time.Millisecond
		}
		select {
		case <-time.After(wait):
		case <-end:
			return nil
		}
	}
}

func (n *Node) renewLease(ttl time.Duration, last uint64) (uint64, error) {
	n.mu.Lock()
	body := map[string]any{
		"incarnation": n.incarnation, "running": len(n.running), "slots": n.slots, "rttMs": 0, "lagMs": 0,
	}
	n.mu.Unlock()
	header := nats.Header{}
	header.Set("Nats-TTL", fmt.Sprintf("%ds", int(ttl.Seconds())))
	if last > 0 {
		header.Set("Nats-Expected-Last-Subject-Sequence", strconv.FormatUint(last, 10))
	}
	var ack struct {
		Seq uint64 `json:"seq"`
	}
	err := n.ask("$KV.mesh_leases.node."+n.id, body, header, &ack)
	return ack.Seq, err
}

// leave takes nothing new, lets tasks finish until the deadline, hands back the rest, and says that it left.
func (n *Node) leave(deadline time.Duration) error {
	n.mu.Lock()
	n.draining = true
	n.mu.Unlock()
	bye := func(phase string) {
		body := map[string]any{"incarnation": n.incarnation, "phase": phase, "reason": "drain"}
		if err := n.ask("mesh.registry.deregister."+n.id, body, nil, nil); err != nil {
			log.Printf("%s: %v", phase, err)
		}
	}
	bye("leaving")
	if !n.waitIdle(deadline) {
		n.stopAll(&Failure{Code: "handed_back", Message: "the node leaves", Retryable: true})
		n.waitIdle(10 * time.Second)
	}
	bye("left")
	return n.nc.Drain()
}

func (n *Node) waitIdle(atMost time.Duration) bool {
	for end := time.Now().Add(atMost); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		n.mu.Lock()
		idle := len(n.running) == 0
		n.mu.Unlock()
		if idle {
			return true
		}
	}
	return false
}

func (n *Node) stopAll(reason error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, task := range n.running {
		task.stop(reason)
	}
}

// storeError is JetStream's own word, as a checkpoint or a lease is answered.
type storeError struct {
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *storeError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

func isStoreError(err error) bool { _, is := err.(*storeError); return is }

// ask makes a request. What is refused is a *Failure, or a *storeError; any other error leaves unknown
// whether it was carried out.
func (n *Node) ask(subject string, body any, header nats.Header, answer any) error {
	data, raw := body.([]byte)
	if !raw {
		data, _ = json.Marshal(body)
	}
	reply, err := n.nc.RequestMsg(&nats.Msg{Subject: subject, Data: data, Header: header}, requestTimeout)
	if err != nil {
		return err
	}
	// A task's or node's record may have an `error` of its own; a refusal has nothing else.
	var all map[string]json.RawMessage
	if err := json.Unmarshal(reply.Data, &all); err != nil {
		return fmt.Errorf("%s: the answer is not JSON: %w", subject, err)
	}
	if failure, refused := all["error"]; refused && all["id"] == nil {
		refusal, store := &Failure{}, &storeError{}
		if json.Unmarshal(failure, store) == nil && store.ErrCode != 0 {
			return store
		}
		if err := json.Unmarshal(failure, refusal); err != nil {
			return fmt.Errorf("%s: refused: %s", subject, failure)
		}
		return refusal
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(reply.Data, answer)
}
