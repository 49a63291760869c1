package firmware

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"
)

// transport is what all senders and receivers speak.
const transport = "urn:x-nmos:transport:rtp"

// endpoint is a single sender or receiver of IS-05. Its maps are replaced and never written to.
type endpoint struct {
	staged object
	active object
	params []string // names of its transport parameters
}

// idle is the activation of an endpoint for which none is asked.
func idle() object { return object{"mode": nil, "requested_time": nil, "activation_time": nil} }

func newSender(number int) *endpoint {
	return newEndpoint(object{
		"receiver_id": nil, "master_enable": false, "activation": idle(),
		"transport_params": []object{{
			"source_ip": "127.0.0.1", "destination_ip": fmt.Sprintf("239.255.0.%d", number+1), "source_port": 5004,
			"destination_port": 5004, "rtp_enabled": true,
		}},
	})
}

// socketTransport is what the meters' sender speaks.
const socketTransport = "urn:x-nmos:transport:websocket"

// newMeterSender says where the meters' WebSocket is (IS-07 §5.2).
func (m *model) newMeterSender() *endpoint {
	socket := "ws" + strings.TrimPrefix(m.origin(), "http") + socketPath
	return newEndpoint(object{
		"receiver_id": nil, "master_enable": true, "activation": idle(),
		"transport_params": []object{{
			"connection_uri": socket, "connection_authorization": true, "ext_is_07_source_id": MeterSourceID,
			"ext_is_07_rest_api_url": m.origin() + eventsAPI + "/sources/" + MeterSourceID + "/",
		}},
	})
}

func newReceiver() *endpoint {
	return newEndpoint(object{
		"sender_id": nil, "master_enable": false, "activation": idle(),
		"transport_file": object{"data": nil, "type": nil},
		"transport_params": []object{{
			"source_ip": nil, "interface_ip": "127.0.0.1", "multicast_ip": nil, "destination_port": 5004,
			"rtp_enabled": true,
		}},
	})
}

func newEndpoint(staged object) *endpoint {
	e := &endpoint{staged: staged, active: maps.Clone(staged)}
	for name := range staged["transport_params"].([]object)[0] {
		e.params = append(e.params, name)
	}
	return e
}

// addConnection puts the Connection API into the tree.
func (m *model) addConnection(t tree) {
	for kind, ids := range map[string][]string{"senders": allSenders, "receivers": Receivers} {
		for _, id := range ids {
			base, e := connectionAPI+"/single/"+kind+"/"+id, m.endpoints[id]
			constraints := object{}
			for _, name := range e.params {
				constraints[name] = object{}
			}
			t.add(base+"/constraints", resource{get: func() any { return []object{constraints} }})
			t.add(base+"/staged", resource{
				get:   func() any { return m.endpointState(e, false) },
				patch: func(body []byte) (any, error) { return m.patch(e, body) },
			})
			t.add(base+"/active", resource{get: func() any { return m.endpointState(e, true) }})
			speaks := transport
			if id == MeterSenderID {
				speaks = socketTransport
			}
			t.add(base+"/transporttype", resource{get: func() any { return speaks }})
			if kind == "senders" && id != MeterSenderID {
				t.add(base+"/transportfile", resource{get: func() any { return m.sdp(e) }, media: "application/sdp"})
			}
		}
	}
}

func (m *model) endpointState(e *endpoint, active bool) object {
	m.mu.Lock()
	defer m.mu.Unlock()
	if active {
		return e.active
	}
	return e.staged
}

// patch merges a body into the staged parameters (IS-05 §4.1), and makes them active if it asks for that. It changes
// nothing when it returns an error.
func (m *model) patch(e *endpoint, body []byte) (any, error) {
	var change map[string]json.RawMessage
	decoder := json.NewDecoder(bytes.NewReader(body))
	if err := decoder.Decode(&change); err != nil || decoder.More() || change == nil {
		return nil, badRequest("the body is not one JSON object")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	next := maps.Clone(e.staged)
	next["activation"] = idle()
	for name, raw := range change {
		before, known := e.staged[name]
		if !known {
			return nil, badRequest("%q is not a parameter of this resource", name)
		}
		value, err := merge(name, before, raw)
		if err != nil {
			return nil, err
		}
		next[name] = value
	}
	mode := next["activation"].(object)["mode"]
	if mode == nil {
		e.staged = next
		return next, nil
	}
	if mode != "activate_immediate" {
		return nil, &httpError{http.StatusNotImplemented, "this device activates immediately or not at all"}
	}
	next["activation"] = object{"mode": mode, "requested_time": nil, "activation_time": tai(time.Now())}
	e.active = next
	close(m.activated)
	m.activated = make(chan struct{})
	e.staged = maps.Clone(next)
	e.staged["activation"] = idle()
	return next, nil
}

// merge reads one member of a PATCH.
func merge(name string, before any, raw json.RawMessage) (any, error) {
	var err error
	switch name {
	case "master_enable":
		var enabled *bool
		if err = json.Unmarshal(raw, &enabled); err == nil && enabled != nil {
			return *enabled, nil
		}
	case "receiver_id", "sender_id":
		var id *string
		if err = json.Unmarshal(raw, &id); err == nil {
			if id == nil {
				return nil, nil
			}
			return *id, nil
		}
	case "activation", "transport_file":
		var value object
		if err = json.Unmarshal(raw, &value); err == nil && value != nil {
			return mergeObject(name, before.(object), value)
		}
	case "transport_params":
		var legs []object
		if err = json.Unmarshal(raw, &legs); err == nil && len(legs) == 1 {
			merged, err := mergeObject(name, before.([]object)[0], legs[0])
			return []object{merged}, err
		}
	}
	if err != nil {
		return nil, badRequest("%q: %v", name, err)
	}
	return nil, badRequest("%q has a wrong type", name)
}

func mergeObject(name string, before, change object) (object, error) {
	after := maps.Clone(before)
	for member, value := range change {
		if _, known := before[member]; !known {
			return nil, badRequest("%q has no %q", name, member)
		}
		after[member] = value
	}
	return after, nil
}

// sdp is a sender's transport file (SMPTE ST 2110-30, shortened).
func (m *model) sdp(e *endpoint) text {
	leg := m.endpointState(e, true)["transport_params"].([]object)[0]
	return text(strings.Join([]string{
		"v=0", "o=- 1 1 IN IP4 " + m.host, "s=" + m.label, "t=0 0",
		fmt.Sprintf("m=audio %v RTP/AVP 97", leg["destination_port"]),
		fmt.Sprintf("c=IN IP4 %v/32", leg["destination_ip"]),
		"a=rtpmap:97 L24/48000/2", "a=ptime:1", "",
	}, "\r\n"))
}
