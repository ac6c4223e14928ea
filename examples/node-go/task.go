package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Handler runs one task. A *Failure it returns is reported as it is; any other error is tried again.
type Handler func(ctx context.Context, task *Task) (any, error)

// Task is one try of a task.
type Task struct {
	ID      string
	Attempt int
	Payload []byte
	Saved   []byte // what the newest earlier try saved, on whatever node

	node  *Node
	epoch uint64
	stop  context.CancelCauseFunc
}

// errCancelled ends a task of which nobody wants to hear any more.
var errCancelled = errors.New("cancelled")

// errSuperseded ends a try that is over: the task is here again, with a newer one.
var errSuperseded = errors.New("superseded")

const outcomesRemembered = 1000

// Progress tells how far the task is. It may be lost.
func (t *Task) Progress(value any) {
	body, _ := json.Marshal(map[string]any{"attempt": t.Attempt, "progress": value})
	_ = t.node.nc.Publish("mesh.tasks.progress."+t.node.id+"."+t.ID, body)
}

// Checkpoint saves state for the next try, at most 512 KB. It is durable when this returns nil.
func (t *Task) Checkpoint(state []byte) error {
	header := nats.Header{}
	header.Set("Mesh-Attempt", strconv.Itoa(t.Attempt))
	return t.node.ask("$KV.mesh_checkpoints."+t.node.id+"."+t.ID, state, header, nil)
}

// hear answers what is asked of the node. One message at a time; it must not block.
func (n *Node) hear(m *nats.Msg) {
	verb := m.Subject[strings.LastIndex(m.Subject, ".")+1:]
	switch verb {
	case "ping":
		n.mu.Lock()
		respond(m, map[string]any{"incarnation": n.incarnation, "running": len(n.running)})
		n.mu.Unlock()
	case "task":
		answer, failure := n.accept(m)
		if failure != nil {
			respond(m, map[string]any{"error": failure})
		} else {
			respond(m, map[string]string{"answer": answer})
		}
	case "cancel":
		n.cancel(m)
	case "drain":
		order := struct {
			DeadlineMs int64  `json:"deadlineMs"`
			Reason     string `json:"reason"`
		}{DeadlineMs: 30_000}
		if failure := readOrder(m, &order); failure != nil {
			respond(m, map[string]any{"error": failure})
			return
		}
		n.Drain(time.Duration(order.DeadlineMs) * time.Millisecond)
		respond(m, map[string]bool{"draining": true})
	}
}

// accept decides about a dispatch: old ones are refused, known ones answered, new ones started.
func (n *Node) accept(m *nats.Msg) (string, *Failure) {
	h := m.Header
	id, capability := h.Get("Mesh-Task-Id"), h.Get("Mesh-Capability")
	attempt, err1 := strconv.Atoi(h.Get("Mesh-Attempt"))
	epoch, err2 := strconv.ParseUint(h.Get("Mesh-Epoch"), 10, 64)
	incarnation, err3 := strconv.ParseUint(h.Get("Mesh-Incarnation"), 10, 64)
	timeout, err4 := duration(h.Get("Mesh-Timeout"))
	saved, err5 := base64.StdEncoding.DecodeString(h.Get("Mesh-Checkpoint"))
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil || id == "" {
		return "", &Failure{Code: "bad_request", Message: "a dispatch has the mesh's headers"}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if incarnation != n.incarnation || epoch < n.epoch {
		return "", &Failure{Code: "stale", Message: "of another life of this node, or an older term"}
	}
	n.epoch = epoch
	if body, known := n.told[tryOf(id, attempt)]; known {
		go n.tell(id, body)
		return "finished", nil
	}
	if known := n.running[id]; known != nil {
		if attempt == known.Attempt {
			return "running", nil
		}
		if attempt < known.Attempt {
			return "", &Failure{Code: "stale", Message: "an older try"}
		}
		known.stop(errSuperseded)
		delete(n.running, id)
	}
	handler := n.handlers[capability]
	if handler == nil {
		return "", &Failure{Code: "unknown_capability", Message: capability, Retryable: true}
	}
	if n.draining || len(n.running) >= n.slots {
		return "", &Failure{Code: "busy", Message: "no free slot", Retryable: true}
	}
	ctx, stop := context.WithCancelCause(context.Background())
	task := &Task{ID: id, Attempt: attempt, Payload: m.Data, Saved: saved, node: n, epoch: epoch, stop: stop}
	n.running[id] = task
	go n.run(ctx, task, handler, timeout)
	return "running", nil
}

// run runs a try to its end and reports what became of it.
func (n *Node) run(ctx context.Context, task *Task, handler Handler, timeout time.Duration) {
	log.Printf("task %s, try %d", task.ID, task.Attempt)
	late := &Failure{Code: "timeout", Message: "it took longer than " + timeout.String(), Retryable: true}
	limited, release := context.WithTimeoutCause(ctx, timeout, late)
	defer release()
	result, err := handler(limited, task)
	cause := context.Cause(ctx)
	silent := cause == error(errLeaseLost) || cause == errCancelled || cause == errSuperseded

	outcome := map[string]any{"attempt": task.Attempt, "epoch": task.epoch, "ok": true, "result": result, "agent": "main"}
	if err != nil {
		failure := &Failure{}
		if !errors.As(err, &failure) {
			failure = &Failure{Code: "handler_failed", Message: err.Error(), Retryable: true}
		}
		outcome = map[string]any{"attempt": task.Attempt, "epoch": task.epoch, "ok": false, "error": failure, "agent": "main"}
	}
	body, _ := json.Marshal(outcome)
	n.mu.Lock()
	if n.running[task.ID] == task {
		delete(n.running, task.ID)
	}
	if !silent {
		n.remember(tryOf(task.ID, task.Attempt), body)
	}
	n.mu.Unlock()
	if !silent {
		n.tell(task.ID, body)
	}
}

// remember keeps an outcome, and lets the oldest go.
func (n *Node) remember(try string, body []byte) {
	n.told[try] = body
	n.toldOrder = append(n.toldOrder, try)
	if len(n.toldOrder) > outcomesRemembered {
		delete(n.told, n.toldOrder[0])
		n.toldOrder = n.toldOrder[1:]
	}
}

// tell sends an outcome until it is recorded, or stale: over lost links, other leaders and other lives.
func (n *Node) tell(id string, body []byte) {
	for !n.nc.IsClosed() {
		var said struct {
			Answer string `json:"answer"`
		}
		err := n.ask("mesh.tasks.outcome."+n.id+"."+id, body, nil, &said)
		if err == nil && (said.Answer == "recorded" || said.Answer == "stale") {
			log.Printf("task %s: %s", id, said.Answer)
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
}

func (n *Node) cancel(m *nats.Msg) {
	var order struct {
		TaskID  string `json:"taskId"`
		Attempt int    `json:"attempt"`
		Epoch   uint64 `json:"epoch"`
		GraceMs int64  `json:"graceMs"`
	}
	if failure := readOrder(m, &order); failure != nil {
		respond(m, map[string]any{"error": failure})
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	task := n.running[order.TaskID]
	mine := task != nil && task.Attempt == order.Attempt && order.Epoch >= n.epoch
	if mine {
		task.stop(errCancelled)
	}
	respond(m, map[string]bool{"cancelled": mine})
}

// readOrder is strict, as the protocol asks: no answer of anybody's looks like an order.
func readOrder(m *nats.Msg, order any) *Failure {
	decoder := json.NewDecoder(strings.NewReader(string(m.Data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(order); err != nil {
		return &Failure{Code: "bad_request", Message: err.Error()}
	}
	return nil
}

func respond(m *nats.Msg, answer any) {
	body, _ := json.Marshal(answer)
	if err := m.Respond(body); err != nil && !errors.Is(err, nats.ErrMsgNoReply) {
		log.Printf("an answer was not sent: %v", err)
	}
}

func tryOf(id string, attempt int) string { return fmt.Sprintf("%s/%d", id, attempt) }

// duration reads `500ms`, `30s`, `5m`, `2h`.
func duration(text string) (time.Duration, error) { return time.ParseDuration(text) }
