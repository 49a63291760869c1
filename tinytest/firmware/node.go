package firmware

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// The roots of the device's APIs.
const (
	nodeAPI       = "/x-nmos/node/v1.3"
	connectionAPI = "/x-nmos/connection/v1.1"
	eventsAPI     = "/x-nmos/events/v1.0"
	socketPath    = eventsAPI + "/ws"
)

// The identifiers of the device's resources. Every pretend device has the same ones.
const (
	NodeID        = "6f1e0000-0000-4000-8000-000000000001"
	DeviceID      = "6f1e0000-0000-4000-8000-000000000002"
	AudioSourceID = "6f1e0000-0000-4000-8000-000000000011"
	AudioFlowID   = "6f1e0000-0000-4000-8000-000000000012"
	MeterSourceID = "6f1e0000-0000-4000-8000-000000000021"
	MeterFlowID   = "6f1e0000-0000-4000-8000-000000000022"
	MeterSenderID = "6f1e0000-0000-4000-8000-000000000033"
	Sender1ID     = "6f1e0000-0000-4000-8000-000000000031"
	Sender2ID     = "6f1e0000-0000-4000-8000-000000000032"
	Receiver1ID   = "6f1e0000-0000-4000-8000-000000000041"
	Receiver2ID   = "6f1e0000-0000-4000-8000-000000000042"
)

// Senders, Receivers and Meters are what can be asked for and patched. The meters have one sender together, which is
// not among Senders: it has no transport file.
var (
	Senders   = []string{Sender1ID, Sender2ID}
	Receivers = []string{Receiver1ID, Receiver2ID}
	Meters    = []string{MeterSourceID}
)

var allSenders = append(slices.Clone(Senders), MeterSenderID)

// object is a JSON object.
type object = map[string]any

// model is the device's state.
type model struct {
	label   string
	scheme  string
	host    string
	port    int
	started time.Time

	mu        sync.Mutex
	names     []named
	level     float64
	changed   time.Time     // when the level was set
	moved     chan struct{} // closed and replaced then
	activated chan struct{} // closed and replaced when a connection is made or ended
	endpoints map[string]*endpoint
}

func newModel(label string, addr *net.TCPAddr) *model {
	m := &model{
		label: label, scheme: "http", host: addr.IP.String(), port: addr.Port, started: time.Now(), changed: time.Now(),
		level: -60, moved: make(chan struct{}), activated: make(chan struct{}), endpoints: map[string]*endpoint{},
		names: newNames(),
	}
	for i, id := range Senders {
		m.endpoints[id] = newSender(i)
	}
	for _, id := range Receivers {
		m.endpoints[id] = newReceiver()
	}
	return m
}

// origin is where the device's APIs are.
func (m *model) origin() string {
	return m.scheme + "://" + net.JoinHostPort(m.host, fmt.Sprint(m.port))
}

// tai is a time as NMOS writes it. The 37 leap seconds are those since 2017.
func tai(t time.Time) string { return fmt.Sprintf("%d:%d", t.Unix()+37, t.Nanosecond()) }

// common are the members that all IS-04 resources have.
func (m *model) common(id, label string, more object) object {
	o := object{
		"id": id, "version": tai(m.started), "label": label, "description": label + " of " + m.label, "tags": object{},
	}
	for name, value := range more {
		o[name] = value
	}
	return o
}

// newTree lays out everything that the device serves.
func newTree(m *model) tree {
	m.endpoints[MeterSenderID] = m.newMeterSender()
	t := tree{}
	t.add(nodeAPI+"/self", resource{get: func() any { return m.self() }})
	for _, c := range m.collections() {
		t.add(nodeAPI+"/"+c.name, resource{get: func() any { return c.items() }})
		for i, item := range c.items() {
			t.add(nodeAPI+"/"+c.name+"/"+item["id"].(string), resource{get: func() any { return c.items()[i] }})
		}
	}
	m.addConnection(t)
	m.addEvents(t)
	t.add(ncpSocket, resource{get: func() any { return nil }}) // for the lists of what is above
	t.add(configurationAPI, resource{get: func() any { return nil }})
	t[ncpSocket] = resource{}
	delete(t, configurationAPI)
	return t
}

// collection is the resources of one type.
type collection struct {
	name  string // in the plural, as in paths
	items func() []object
}

// collections are all but the node itself, each behind those that it refers to.
func (m *model) collections() []collection {
	return []collection{
		{"devices", func() []object { return []object{m.device()} }}, {"sources", m.sources}, {"flows", m.flows},
		{"senders", m.senders}, {"receivers", m.receivers},
	}
}

func (m *model) self() object {
	return m.common(NodeID, m.label, object{
		"href": m.origin() + "/", "hostname": m.host, "caps": object{},
		"api": object{
			"versions":  []string{"v1.3"},
			"endpoints": []object{{"host": m.host, "port": m.port, "protocol": m.scheme, "authorization": true}},
		},
		"services": []object{}, "clocks": []object{{"name": "clk0", "ref_type": "internal"}},
		"interfaces": []object{{"name": "lo", "chassis_id": nil, "port_id": "00-00-00-00-00-00"}},
	})
}

func (m *model) device() object {
	origin := m.origin()
	return m.common(DeviceID, "Stage box", object{
		"type": "urn:x-nmos:device:generic", "node_id": NodeID, "senders": allSenders, "receivers": Receivers,
		"controls": []object{
			{"type": "urn:x-nmos:control:sr-ctrl/v1.1", "href": origin + connectionAPI + "/", "authorization": true},
			{"type": "urn:x-nmos:control:events/v1.0", "href": origin + eventsAPI + "/", "authorization": true},
			{"type": "urn:x-nmos:control:ncp/v1.0", "href": "ws" + origin[len("http"):] + ncpSocket,
				"authorization": true},
			{"type": "urn:x-nmos:control:configuration/v1.0",
				"href": origin + configurationAPI + "/", "authorization": true},
		},
	})
}

func (m *model) sources() []object {
	return []object{
		m.common(AudioSourceID, "Microphones", object{
			"format": "urn:x-nmos:format:audio", "caps": object{}, "device_id": DeviceID, "parents": []string{},
			"clock_name": "clk0", "channels": []object{{"label": "Left", "symbol": "L"},
				{"label": "Right", "symbol": "R"}},
		}),
		m.common(MeterSourceID, "Level meter", object{
			"format": "urn:x-nmos:format:data", "caps": object{}, "device_id": DeviceID,
			"parents": []string{AudioSourceID}, "clock_name": nil, "event_type": meterType,
		}),
	}
}

func (m *model) flows() []object {
	return []object{
		m.common(AudioFlowID, "Microphones", object{
			"format": "urn:x-nmos:format:audio", "source_id": AudioSourceID, "device_id": DeviceID,
			"parents": []string{}, "media_type": "audio/L24", "sample_rate": object{"numerator": 48000},
			"bit_depth": 24,
		}),
		m.common(MeterFlowID, "Level meter", object{
			"format": "urn:x-nmos:format:data", "source_id": MeterSourceID, "device_id": DeviceID,
			"parents": []string{}, "media_type": "application/json", "event_type": meterType,
		}),
	}
}

func (m *model) senders() []object {
	var list []object
	for i, id := range Senders {
		list = append(list, m.common(id, fmt.Sprintf("Sender %d", i+1), object{
			"flow_id": AudioFlowID, "transport": transport, "device_id": DeviceID, "caps": object{},
			"manifest_href":      m.origin() + connectionAPI + "/single/senders/" + id + "/transportfile",
			"interface_bindings": []string{"lo"}, "subscription": object{"receiver_id": nil, "active": false},
		}))
	}
	return append(list, m.common(MeterSenderID, "Level meter", object{
		"flow_id": MeterFlowID, "transport": socketTransport, "device_id": DeviceID, "caps": object{},
		"manifest_href": nil, "interface_bindings": []string{"lo"},
		"subscription": object{"receiver_id": nil, "active": true},
	}))
}

func (m *model) receivers() []object {
	var list []object
	for i, id := range Receivers {
		e := m.endpoints[id]
		active := m.endpointState(e, true)
		o := m.common(id, fmt.Sprintf("Receiver %d", i+1), object{
			"format": "urn:x-nmos:format:audio", "caps": object{"media_types": []string{"audio/L24"}},
			"device_id": DeviceID, "transport": transport, "interface_bindings": []string{"lo"},
			"subscription": object{"sender_id": active["sender_id"], "active": active["master_enable"]},
		})
		if at := active["activation"].(object)["activation_time"]; at != nil { // IS-04: a change has a new version
			o["version"] = at
		}
		list = append(list, o)
	}
	return list
}
