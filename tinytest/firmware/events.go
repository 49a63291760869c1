package firmware

import (
	"math"
	"time"
)

// meterType is the IS-07 event type of the level meter.
const meterType = "number/level/dBFS"

// meterScale is the scale of the meter's numbers (IS-07 §2.2): tenths of a decibel.
const meterScale = 10

// addEvents puts the events API into the tree. The WebSocket is there without a document.
func (m *model) addEvents(t tree) {
	base := eventsAPI + "/sources/" + MeterSourceID
	t.add(base+"/type", resource{get: func() any {
		return object{
			"type": "number", "unit": "dBFS",
			"min": object{"value": -1200, "scale": meterScale}, "max": object{"value": 0, "scale": meterScale},
		}
	}})
	t.add(base+"/state", resource{get: func() any { return m.state() }})
	t[socketPath] = resource{}
}

func (m *model) setLevel(dBFS float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.level, m.changed = max(-120, min(0, dBFS)), time.Now()
	close(m.moved)
	m.moved = make(chan struct{})
}

// state is the meter's present state message.
func (m *model) state() object {
	m.mu.Lock()
	defer m.mu.Unlock()
	return object{
		"identity":     object{"source_id": MeterSourceID, "flow_id": MeterFlowID},
		"event_type":   meterType,
		"message_type": "state",
		"timing":       object{"creation_timestamp": tai(m.changed)},
		"payload":      object{"value": int(math.Round(m.level * meterScale)), "scale": meterScale},
	}
}
