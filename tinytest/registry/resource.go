package registry

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strconv"
)

// entry is a resource.
type entry struct {
	kind, id string
	parents  []string // the resources that it belongs to or refers to
	node     string   // the node that it belongs to, or is
	client   string   // whose token registered that node
	data     map[string]any
	updated  uint64
}

// kind is a type of resource: what its data must have beside the members of all, with the JSON type of each, and the
// members by which it refers to others. A reference with "?" may be null.
type kind struct {
	members map[string]string
	parents map[string]string
}

// common are the members of all (IS-04 APIs: resource core).
var common = map[string]string{
	"id": "id", "version": "version", "label": "text", "description": "text", "tags": "object",
}

var kinds = map[string]kind{
	"node": {map[string]string{
		"href": "text", "caps": "object", "api": "object", "services": "list", "clocks": "list", "interfaces": "list",
	}, nil},
	"device": {map[string]string{
		"type": "text", "senders": "list", "receivers": "list", "controls": "list",
	}, map[string]string{"node_id": "node"}},
	"source": {map[string]string{
		"format": "text", "caps": "object", "parents": "list",
	}, map[string]string{"device_id": "device"}},
	"flow": {map[string]string{
		"format": "text", "parents": "list",
	}, map[string]string{"device_id": "device", "source_id": "source"}},
	"sender": {map[string]string{
		"transport": "text", "interface_bindings": "list", "subscription": "object",
	}, map[string]string{"device_id": "device", "flow_id": "flow?"}},
	"receiver": {map[string]string{
		"format": "text", "caps": "object", "transport": "text", "interface_bindings": "list", "subscription": "object",
	}, map[string]string{"device_id": "device"}},
}

var (
	idForm      = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	versionForm = regexp.MustCompile(`^[0-9]+:[0-9]+$`)
)

// fits reports whether a value is of a type.
func fits(value any, want string) (ok bool) {
	switch want {
	case "id", "version", "text":
		text, isText := value.(string)
		return isText && (want != "id" || idForm.MatchString(text)) &&
			(want != "version" || versionForm.MatchString(text))
	case "object":
		_, ok = value.(map[string]any)
	case "list":
		_, ok = value.([]any)
	}
	return ok
}

// register takes in a resource, or a new state of one (IS-04 Registration API: POST resource).
func (r *Registry) register(
	w http.ResponseWriter, q *http.Request, content []byte, client string,
) (int, any, error) {
	if media, _, err := mime.ParseMediaType(q.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return 0, nil, bad(http.StatusBadRequest, "Content-Type must be application/json")
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	var body struct {
		Type string
		Data map[string]any
	}
	if err := decoder.Decode(&body); err != nil {
		return 0, nil, bad(http.StatusBadRequest, "the body is not a type and its data: %v", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return 0, nil, bad(http.StatusBadRequest, "something follows the body")
	}
	k, known := kinds[body.Type]
	if !known {
		return 0, nil, bad(http.StatusBadRequest, "type %q is unknown", body.Type)
	}
	for _, members := range []map[string]string{common, k.members} {
		for name, want := range members {
			if !fits(body.Data[name], want) {
				return 0, nil, bad(http.StatusBadRequest, "%s: %q is not of the form %s", body.Type, name, want)
			}
		}
	}
	e := &entry{kind: body.Type, id: body.Data["id"].(string), data: body.Data, client: client}
	if err := r.place(e, k); err != nil {
		return 0, nil, err
	}
	before := r.resources[e.id]
	if before != nil {
		if before.kind != e.kind {
			return 0, nil, bad(http.StatusBadRequest, "%s is a %s", e.id, before.kind)
		}
		if err := r.owned(before, client); err != nil {
			return 0, nil, err
		}
		if before.node != e.node {
			return 0, nil, bad(http.StatusBadRequest, "%s belongs to another node", e.id)
		}
	}
	r.serial++
	e.updated = r.serial
	r.resources[e.id] = e
	c := change{kind: e.kind, Path: e.id, Post: e.data}
	if before != nil {
		c.Pre = before.data
	}
	r.tell(c)
	if _, beats := r.beats[e.id]; e.kind == "node" && !beats {
		r.beats[e.id] = r.opt.Now()
	}
	w.Header().Set("Location", RegistrationAPI+"/resource/"+e.kind+"s/"+e.id+"/")
	if before != nil {
		return http.StatusOK, e.data, nil
	}
	return http.StatusCreated, e.data, nil
}

// place finds the resources that one refers to, which must be there and belong to the same client's node.
func (r *Registry) place(e *entry, k kind) error {
	e.node = e.id
	for name, want := range k.parents {
		nullable := false
		if want[len(want)-1] == '?' {
			nullable, want = true, want[:len(want)-1]
		}
		value, there := e.data[name]
		if there && value == nil && nullable {
			continue
		}
		id, _ := value.(string)
		parent := r.resources[id]
		if parent == nil || parent.kind != want {
			return bad(http.StatusBadRequest, "%s: %s %q is not registered", e.kind, name, id)
		}
		if err := r.owned(parent, e.client); err != nil {
			return err
		}
		if e.node != e.id && e.node != parent.node {
			return bad(http.StatusBadRequest, "%s: it refers to two nodes", e.kind)
		}
		e.node, e.parents = parent.node, append(e.parents, id)
	}
	return nil
}

// owned reports whether a client may change a resource: if its token registered the node (CLI-11).
func (r *Registry) owned(e *entry, client string) error {
	if e.client != client {
		return bad(http.StatusForbidden, "this node was registered by another client")
	}
	return nil
}

// health takes a heartbeat, or shows the last one.
func (r *Registry) health(method, id, client string) (int, any, error) {
	e := r.resources[id]
	switch {
	case e == nil || e.kind != "node":
		return 0, nil, bad(http.StatusNotFound, "there is no such node")
	case method == http.MethodPost:
		if err := r.owned(e, client); err != nil {
			return 0, nil, err
		}
		r.beats[id] = r.opt.Now()
	case method != http.MethodGet && method != http.MethodHead:
		return 0, nil, bad(http.StatusMethodNotAllowed, "GET or POST")
	}
	return http.StatusOK, map[string]string{"health": strconv.FormatInt(r.beats[id].Unix()+37, 10)}, nil // TAI
}

// expire removes nodes that have been silent for too long, with all that belongs to them. The lock is held.
func (r *Registry) expire() {
	for id, beat := range r.beats {
		if r.opt.Now().Sub(beat) > Expiry {
			r.remove(id)
		}
	}
}

// remove removes a resource and what refers to it. The lock is held.
func (r *Registry) remove(id string) {
	if e := r.resources[id]; e != nil {
		r.tell(change{kind: e.kind, Path: id, Pre: e.data})
	}
	delete(r.resources, id)
	delete(r.beats, id)
	for child, e := range r.resources {
		for _, parent := range e.parents {
			if parent == id {
				r.remove(child)
				break
			}
		}
	}
}
