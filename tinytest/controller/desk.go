package controller

import (
	"context"
	"encoding/json"
	"fmt"

	"golang.org/x/net/websocket"
)

// Desk is an open control socket (IS-12) of one device. Close it. It is for one goroutine.
type Desk struct {
	at     string
	socket *websocket.Conn
	stop   func() bool
	handle int
	told   []change // and not asked for yet
}

// elementID is the id of a method, a property or an event.
type elementID struct {
	Level int `json:"level"`
	Index int `json:"index"`
}

// change is what a device tells of an object.
type change struct {
	OID       int
	EventData struct {
		PropertyID elementID
		Value      any
	}
}

// Of the model's objects, as the device describes them: the first property of a gain or of a meter is what it reads.
var (
	methodGet  = elementID{1, 1}
	methodSet  = elementID{1, 2}
	methodFind = elementID{2, 2} // FindMembersByPath of a block
	reading    = elementID{3, 1}
)

// rootBlock is the oid of every model's root.
const rootBlock = 1

// Control opens the control socket of a device, until the context ends.
func (c *Controller) Control(ctx context.Context, device Resource) (*Desk, error) {
	for _, control := range device.Controls {
		if control.Type != "urn:x-nmos:control:ncp/v1.0" {
			continue
		}
		socket, err := c.open(ctx, control.Href)
		if err != nil {
			return nil, err
		}
		stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
		return &Desk{at: control.Href, socket: socket, stop: stop}, nil
	}
	return nil, fmt.Errorf("controller: the device %s has no control socket", device.Label)
}

// Close closes the socket.
func (d *Desk) Close() error {
	d.stop()
	return d.socket.Close()
}

// receive waits for the answer of a type, and keeps what it is told meanwhile.
func (d *Desk) receive(kind int, answer any) error {
	for {
		var text []byte
		if err := websocket.Message.Receive(d.socket, &text); err != nil {
			return fmt.Errorf("controller: the control socket ended: %w", err)
		}
		var message struct {
			MessageType   int
			Notifications []change
		}
		if err := json.Unmarshal(text, &message); err != nil {
			return fmt.Errorf("controller: not a message: %.200q", text)
		}
		d.told = append(d.told, message.Notifications...)
		switch message.MessageType {
		case kind:
			return json.Unmarshal(text, answer)
		case 2: // Notification
		default:
			return fmt.Errorf("controller: not the answer: %.200q", text)
		}
	}
}

// command sends one command, and returns the value of its result. What is refused is a [RefusedError].
func (d *Desk) command(oid int, method elementID, arguments map[string]any, value any) error {
	d.handle = d.handle%65535 + 1
	err := websocket.JSON.Send(d.socket, map[string]any{"messageType": 0, "commands": []map[string]any{
		{"handle": d.handle, "oid": oid, "methodId": method, "arguments": arguments},
	}})
	if err != nil {
		return err
	}
	var answer struct {
		Responses []struct {
			Handle int
			Result struct {
				Status       int
				Value        json.RawMessage
				ErrorMessage string
			}
		}
	}
	if err := d.receive(1, &answer); err != nil {
		return err
	}
	if len(answer.Responses) != 1 || answer.Responses[0].Handle != d.handle {
		return fmt.Errorf("controller: the responses %+v are not to command %d", answer.Responses, d.handle)
	}
	result := answer.Responses[0].Result
	switch {
	case result.Status >= 300:
		what := fmt.Sprintf("%dm%d of %d at %s", method.Level, method.Index, oid, d.at)
		return &RefusedError{what, result.Status, result.ErrorMessage}
	case value == nil:
		return nil
	}
	return json.Unmarshal(result.Value, value)
}

// Find returns the oid of an object below the root block.
func (d *Desk) Find(path ...string) (int, error) {
	var found []struct{ OID int }
	if err := d.command(rootBlock, methodFind, map[string]any{"path": path}, &found); err != nil {
		return 0, err
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("controller: %d objects are at %q, want one", len(found), path)
	}
	return found[0].OID, nil
}

// Read returns what a gain or a meter reads, in dB.
func (d *Desk) Read(oid int) (dB float64, err error) {
	err = d.command(oid, methodGet, map[string]any{"id": reading}, &dB)
	return dB, err
}

// Turn sets a gain.
func (d *Desk) Turn(oid int, dB float64) error {
	return d.command(oid, methodSet, map[string]any{"id": reading, "value": dB}, nil)
}

// Subscribe has the device tell of these objects, in place of others before. Those that the token may not read are left
// out; it returns the others.
func (d *Desk) Subscribe(oids ...int) ([]int, error) {
	err := websocket.JSON.Send(d.socket, map[string]any{"messageType": 3, "subscriptions": oids})
	if err != nil {
		return nil, err
	}
	var answer struct{ Subscriptions []int }
	err = d.receive(4, &answer)
	return answer.Subscriptions, err
}

// Next waits until the device tells of a reading, and returns whose it is and what it is.
func (d *Desk) Next() (oid int, dB float64, err error) {
	for {
		for len(d.told) > 0 {
			next := d.told[0]
			d.told = d.told[1:]
			if value, ok := next.EventData.Value.(float64); ok && next.EventData.PropertyID == reading {
				return next.OID, value, nil
			}
		}
		var message struct {
			MessageType   int
			Notifications []change
		}
		if err := websocket.JSON.Receive(d.socket, &message); err != nil {
			return 0, 0, fmt.Errorf("controller: the control socket ended: %w", err)
		}
		d.told = append(d.told, message.Notifications...)
	}
}
