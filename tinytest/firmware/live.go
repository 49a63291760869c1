package firmware

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"golang.org/x/net/websocket"
)

// healthLimit is how long a client of the WebSocket may be silent (IS-07 §5.2: it is dropped after 12 s).
const healthLimit = 12 * time.Second

// sendLimit is how long a client may be too busy to take a message.
const sendLimit = 10 * time.Second

// commandLimit is the longest command of a client, in bytes.
const commandLimit = 64 << 10

// live serves the WebSocket as IS-07 has it: the client names sources and gets their states, now and whenever they
// change, and says every few seconds that it is there. It ends with the permission (ANS-8).
func (d *Device) live(w http.ResponseWriter, r *http.Request, standing *standing) {
	if http.NewResponseController(w).SetReadDeadline(time.Time{}) != nil {
		fail(w, http.StatusInternalServerError, "this connection cannot be kept open")
		return
	}
	server := websocket.Server{Handler: func(c *websocket.Conn) { // no check of Origin: the token is what protects
		c.MaxPayloadBytes = commandLimit
		ctx, cancel := d.lasting(c, standing)
		defer cancel()
		events := make(chan any)
		go d.listen(ctx, cancel, c, events)
		d.report(ctx, c, events)
	}}
	server.ServeHTTP(w, r)
}

// lasting returns for how long a socket stays open: until its permission ends, or the device, or cancel is called. Then
// the socket is closed.
func (d *Device) lasting(c *websocket.Conn, standing *standing) (ctx context.Context, cancel context.CancelFunc) {
	ctx, cancel = context.WithCancel(d.closing)
	if standing.asker != nil {
		go standing.wait(ctx, cancel)
	}
	if standing.reply.Expires {
		end := cancel
		var late context.CancelFunc
		ctx, late = context.WithTimeout(ctx, standing.reply.ExpiresIn)
		cancel = func() { late(); end() }
	}
	context.AfterFunc(ctx, func() { _ = c.Close() })
	return ctx, cancel
}

// listen reads the client's commands until it is silent or gone, and passes on what is to be answered.
func (d *Device) listen(ctx context.Context, gone context.CancelFunc, c *websocket.Conn, events chan<- any) {
	defer gone()
	for c.SetReadDeadline(time.Now().Add(healthLimit)) == nil {
		var command struct {
			Command   string
			Sources   []string
			Timestamp string
		}
		if err := websocket.JSON.Receive(c, &command); err != nil {
			return
		}
		var event any
		switch command.Command {
		case "health":
			event = object{
				"message_type": "health",
				"timing":       object{"origin_timestamp": command.Timestamp, "creation_timestamp": tai(time.Now())},
			}
		case "subscription":
			event = slices.Contains(command.Sources, MeterSourceID)
		default:
			d.logf("WebSocket: what is the command %q?", command.Command)
			return
		}
		select {
		case events <- event:
		case <-ctx.Done():
			return
		}
	}
}

// report sends what listen passes on and, while the client is subscribed to the meter, its state at each change.
func (d *Device) report(ctx context.Context, c *websocket.Conn, events <-chan any) {
	var moved <-chan struct{} // nil: not subscribed
	send := func(message any) bool {
		if err := errors.Join(c.SetWriteDeadline(time.Now().Add(sendLimit)),
			websocket.JSON.Send(c, message)); err != nil {
			d.logf("WebSocket: %v", err)
			return false
		}
		return true
	}
	state := func() bool {
		moved = d.model.nextMove()
		return send(d.model.state())
	}
	for {
		ok := true
		select {
		case <-ctx.Done():
			return
		case event := <-events:
			switch subscribed, isSubscription := event.(bool); {
			case !isSubscription:
				ok = send(event)
			case !subscribed:
				moved = nil
			case moved == nil:
				ok = state()
			}
		case <-moved:
			ok = state()
		}
		if !ok {
			return
		}
	}
}

// nextMove is closed when the level is set the next time.
func (m *model) nextMove() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.moved
}
