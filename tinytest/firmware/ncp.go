package firmware

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/net/websocket"

	"nmosauthd/tinytest/devicemodel"
)

// ncpSocket is the path of IS-12's WebSocket.
const ncpSocket = "/x-nmos/ncp/v1.0"

// messageLimit is the longest message of a controller, in bytes.
const messageLimit = 256 << 10

// queueLimit is how many notifications wait for a controller that does not take them, until its socket is closed.
const queueLimit = 10_000

// The types of messages (IS-12).
const (
	isCommand = iota
	isCommandResponse
	isNotification
	isSubscription
	isSubscriptionResponse
	isError
)

// openModel opens IS-12's WebSocket: the handshake is asked about, and the question left standing; each command and
// subscription is asked about as it comes, with the token of the handshake (CTL-21, CTL-29).
func (d *Device) openModel(w http.ResponseWriter, r *http.Request, target string) {
	lines := append([]string{"decide 1", "method=" + r.Method, "target=" + target}, credentials(r)...)
	standing := d.stand(lines, true)
	defer standing.close()
	if _, ok := d.settle(w, r, standing.reply, standing.err); !ok || !upgradable(w, r) {
		return
	}
	if http.NewResponseController(w).SetReadDeadline(time.Time{}) != nil {
		fail(w, http.StatusInternalServerError, "this connection cannot be kept open")
		return
	}
	websocket.Server{Handler: func(c *websocket.Conn) {
		c.MaxPayloadBytes = messageLimit
		ctx, end := d.lasting(c, standing)
		defer end()
		s := &session{device: d, conn: c, end: end, authorization: bearer(r, target), more: make(chan struct{}, 1)}
		defer d.objects.Listen(s.changed)()
		go s.notify(ctx)
		s.serve()
	}}.ServeHTTP(w, r)
}

// bearer is the token of a handshake as a header has it, also if it came in the query (ANS-9).
func bearer(r *http.Request, target string) string {
	if authorization := header(r); authorization != "" {
		return authorization
	}
	if u, err := url.ParseRequestURI(target); err == nil {
		if token := u.Query().Get("access_token"); token != "" {
			return "Bearer " + token
		}
	}
	return ""
}

// session is one controller on IS-12's WebSocket.
type session struct {
	device        *Device
	conn          *websocket.Conn
	end           context.CancelFunc
	authorization string
	more          chan struct{} // something was put into waiting

	mu         sync.Mutex
	subscribed map[int]bool // by oid
	waiting    []devicemodel.Change
}

// command is one of a message.
type command struct {
	Handle    int
	OID       int `json:"oid"`
	MethodID  devicemodel.ID
	Arguments json.RawMessage
}

// serve reads messages until one cannot be read.
func (s *session) serve() {
	for {
		var text []byte
		if websocket.Message.Receive(s.conn, &text) != nil {
			return
		}
		var message struct {
			MessageType   *int
			Commands      []command
			Subscriptions []int
		}
		err := json.Unmarshal(text, &message)
		if err == nil && message.MessageType == nil {
			err = errors.New("there is no messageType")
		}
		for _, c := range message.Commands {
			if err == nil && (c.Handle < 1 || c.Handle > 65535) {
				err = errors.New("a handle is 1 to 65535")
			}
		}
		var answer any
		switch {
		case err != nil:
			answer = badMessage(err.Error())
		case *message.MessageType == isCommand:
			answer = object{"messageType": isCommandResponse, "responses": s.carryOut(message.Commands)}
		case *message.MessageType == isSubscription:
			answer = object{"messageType": isSubscriptionResponse, "subscriptions": s.subscribe(message.Subscriptions)}
		default:
			answer = badMessage("this is not a message of a controller")
		}
		if !s.send(answer) {
			return
		}
	}
}

func badMessage(text string) object {
	return object{"messageType": isError, "status": devicemodel.BadCommandFormat, "errorMessage": text}
}

// carryOut asks about all commands of a message, and then carries out those that are allowed, each in its place.
func (s *session) carryOut(commands []command) []object {
	var requests []request
	asked := make([]int, len(commands)) // the number of the request
	for i, c := range commands {
		if o := s.device.objects.Find(c.OID); o != nil { // an unknown oid is not asked about (CTL-26)
			asked[i] = len(requests)
			requests = append(requests,
				request{o.ClassID(), c.MethodID, s.device.objects.Reach(o, c.MethodID, c.Arguments)})
		}
	}
	answers, _ := s.device.permit("control", s.authorization, requests)
	responses := []object{}
	for i, c := range commands {
		result := devicemodel.Fault(devicemodel.BadOid, "there is no such object")
		if o := s.device.objects.Find(c.OID); o != nil {
			if status := answers[asked[i]]; status != devicemodel.OK {
				result = devicemodel.Fault(status, refusals[status])
			} else {
				result = s.device.objects.Invoke(o, c.MethodID, c.Arguments)
			}
		}
		responses = append(responses, object{"handle": c.Handle, "result": result})
	}
	return responses
}

// subscribe takes the place of all subscriptions before. It returns those accepted: the others are left out without an
// error (CTL-27).
func (s *session) subscribe(oids []int) []int {
	var known []int
	var requests []request
	for _, oid := range oids {
		if o := s.device.objects.Find(oid); o != nil {
			known = append(known, oid)
			requests = append(requests, request{objects: []*devicemodel.Object{o}})
		}
	}
	answers, _ := s.device.permit("control", s.authorization, requests)
	accepted, set := []int{}, map[int]bool{}
	for i, oid := range known {
		if answers[i] == devicemodel.OK {
			accepted = append(accepted, oid)
			set[oid] = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribed = set
	return accepted
}

// changed keeps a change for whoever has subscribed to the object (CTL-28).
func (s *session) changed(c devicemodel.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.subscribed[c.OID] {
		return
	}
	if len(s.waiting) >= queueLimit {
		s.end()
		return
	}
	s.waiting = append(s.waiting, c)
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// notify sends what changed.
func (s *session) notify(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.more:
		}
		s.mu.Lock()
		waiting := s.waiting
		s.waiting = nil
		s.mu.Unlock()
		list := []object{}
		for _, c := range waiting {
			list = append(list, object{
				"oid": c.OID, "eventId": devicemodel.ID{Level: 1, Index: 1},
				"eventData": object{"propertyId": c.Property, "changeType": c.Type, "value": c.Value,
					"sequenceItemIndex": c.Item},
			})
		}
		if !s.send(object{"messageType": isNotification, "notifications": list}) {
			s.end()
			return
		}
	}
}

func (s *session) send(message any) bool {
	err := errors.Join(s.conn.SetWriteDeadline(time.Now().Add(sendLimit)), websocket.JSON.Send(s.conn, message))
	if err != nil {
		s.device.logf("WebSocket: %v", err)
	}
	return err == nil
}
