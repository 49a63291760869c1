package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/websocket"

	"nmosauthd/tinytest/firmware"
)

// subscription is what a client of the Query API wants to be told of.
type subscription struct {
	ID            string         `json:"id"`
	Socket        string         `json:"ws_href"`
	Rate          int            `json:"max_update_rate_ms"`
	Path          string         `json:"resource_path"` // "" means everything
	Params        map[string]any `json:"params"`
	Persist       bool           `json:"persist"`
	Secure        bool           `json:"secure"`
	Authorization bool           `json:"authorization"`
}

// follower is one WebSocket of a subscription. Changes come while it is among Registry.followers; the channel is closed
// if it does not take them.
type follower struct {
	subscription subscription
	changes      chan change
}

// change is one entry of a grain (IS-04 Behaviour: Querying).
type change struct {
	kind string
	Path string         `json:"path"` // the id
	Pre  map[string]any `json:"pre,omitempty"`
	Post map[string]any `json:"post,omitempty"`
}

const (
	subscriptionsPath = QueryAPI + "/subscriptions"
	mostChanges       = 1000 // that may wait for one client
	sendLimit         = 10 * time.Second
)

// wants reports whether a change is one that is subscribed to.
func (s subscription) wants(c change) bool { return s.Path == "" || s.Path == "/"+c.kind+"s" }

// subscribe makes a subscription. The lock is held.
func (r *Registry) subscribe(w http.ResponseWriter, body []byte) (int, any, error) {
	var s subscription
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil || s.ID != "" || s.Socket != "" || s.Params == nil {
		return 0, nil, bad(http.StatusBadRequest, "the body is not a subscription")
	}
	kind, plural := strings.CutSuffix(strings.TrimPrefix(s.Path, "/"), "s")
	if _, known := kinds[kind]; s.Path != "" && (!known || !plural || s.Path[0] != '/') {
		return 0, nil, bad(http.StatusBadRequest, "resource_path %q is unknown", s.Path)
	}
	if len(s.Params) > 0 || s.Persist {
		return 0, nil, bad(http.StatusNotImplemented, "this registry has neither params nor persistent subscriptions")
	}
	random := make([]byte, 16)
	_, _ = rand.Read(random) // which never fails
	random[6], random[8] = random[6]&0x0f|0x40, random[8]&0x3f|0x80
	s.ID = fmt.Sprintf("%x-%x-%x-%x-%x", random[:4], random[4:6], random[6:8], random[8:10], random[10:])
	s.Socket = "wss" + strings.TrimPrefix(r.url, "https") + subscriptionsPath + "/" + s.ID
	s.Secure, s.Authorization = true, true
	r.subscriptions[s.ID] = s
	w.Header().Set("Location", subscriptionsPath+"/"+s.ID)
	return http.StatusCreated, s, nil
}

// showSubscriptions answers for the list, or for one of it. The lock is held.
func (r *Registry) showSubscriptions(parts []string) (any, error) {
	if len(parts) == 1 {
		list := make([]subscription, 0, len(r.subscriptions))
		for _, s := range r.subscriptions {
			list = append(list, s)
		}
		slices.SortFunc(list, func(a, b subscription) int { return strings.Compare(a.ID, b.ID) })
		return list, nil
	}
	if s, ok := r.subscriptions[parts[1]]; ok && len(parts) == 2 {
		return s, nil
	}
	return nil, bad(http.StatusNotFound, "there is no such subscription")
}

// tell passes a change on to those who follow. The lock is held.
func (r *Registry) tell(c change) {
	for f := range r.followers {
		if !f.subscription.wants(c) {
			continue
		}
		select {
		case f.changes <- c:
		default: // too slow
			delete(r.followers, f)
			close(f.changes)
		}
	}
}

// socketOf returns the subscription whose WebSocket a request wants to open.
func (r *Registry) socketOf(q *http.Request) (s subscription, ok bool) {
	id, found := strings.CutPrefix(q.URL.Path, subscriptionsPath+"/")
	if !found || q.Method != http.MethodGet || !strings.EqualFold(q.Header.Get("Upgrade"), "websocket") {
		return s, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok = r.subscriptions[id]
	return s, ok
}

// follow serves the WebSocket of a subscription. Its own path does not decide but what it shows does (PATH-14): only
// the registry knows that. The question is left standing, and the WebSocket ends with the permission (ANS-8).
func (r *Registry) follow(w http.ResponseWriter, q *http.Request, s subscription) {
	standing := firmware.NewAsker(r.opt.Socket, r.opt.Timeout)
	defer standing.Close()
	target := QueryAPI + s.Path
	if q.URL.RawQuery != "" {
		target += "?" + q.URL.RawQuery // the token may be there (ANS-9)
	}
	reply, err := r.ask(standing, q, "watch-token 1", "target="+target, "upgrade=websocket")
	if !r.admit(w, q, reply, err) {
		return
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	server := websocket.Server{Handler: func(c *websocket.Conn) {
		ctx, cancel := context.WithCancel(r.closing)
		defer cancel()
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		defer stop()
		go func() {
			_, _ = standing.Turned() // or the daemon has ended: no permission either
			cancel()
		}()
		go func() {
			_, _ = io.Copy(io.Discard, c) // until the client hangs up
			cancel()
		}()
		r.report(ctx, c, s)
	}}
	server.ServeHTTP(w, q)
}

// report sends what there is, and what changes.
func (r *Registry) report(ctx context.Context, c *websocket.Conn, s subscription) {
	f := &follower{s, make(chan change, mostChanges)}
	r.mu.Lock()
	r.expire()
	first := []change{}
	for _, e := range r.resources {
		if one := (change{e.kind, e.id, e.data, e.data}); s.wants(one) {
			first = append(first, one)
		}
	}
	r.followers[f] = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.followers, f)
		delete(r.subscriptions, s.ID) // one that is not persistent ends with its WebSocket
	}()
	for data := first; ; {
		if c.SetWriteDeadline(time.Now().Add(sendLimit)) != nil || websocket.JSON.Send(c, grain(s, data)) != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case one, ok := <-f.changes:
			if !ok {
				return
			}
			data = []change{one}
		}
	}
}

// grain is a message about changes.
func grain(s subscription, data []change) any {
	now := time.Now()
	at := fmt.Sprintf("%d:%d", now.Unix()+37, now.Nanosecond()) // TAI
	return map[string]any{
		"grain_type": "event", "source_id": s.ID, "flow_id": s.ID, "origin_timestamp": at, "sync_timestamp": at,
		"creation_timestamp": at, "rate": map[string]int{"numerator": 0, "denominator": 1},
		"duration": map[string]int{"numerator": 0, "denominator": 1},
		"grain": map[string]any{
			"type": "urn:x-nmos:format:data.event", "topic": s.Path + "/", "data": data,
		},
	}
}
