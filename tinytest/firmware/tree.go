package firmware

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// bodyLimit is the longest body of a PATCH, in bytes.
const bodyLimit = 64 << 10

// resource is one thing that the device serves. Without patch it can only be read.
type resource struct {
	get   func() any // the document, to be written as JSON; a text is written as it stands
	patch func(body []byte) (any, error)
	media string // "": application/json
}

// text is a document that is not JSON.
type text string

// tree maps paths without a trailing slash to resources. Lists of what is below a path are made from it.
type tree map[string]resource

// add puts a resource at a path, and lists for all the paths above it.
func (t tree) add(path string, r resource) {
	t[path] = r
	for path != "" {
		parent, child := path[:strings.LastIndexByte(path, '/')], path[strings.LastIndexByte(path, '/')+1:]+"/"
		if list, ok := t[parent]; ok {
			if names, isList := list.get().([]string); isList && !slices.Contains(names, child) {
				names = append(slices.Clone(names), child)
				slices.Sort(names)
				t[parent] = resource{get: func() any { return names }}
			}
		} else {
			t[parent] = resource{get: func() any { return []string{child} }}
		}
		path = parent
	}
}

// httpError is an error with the status that it gets.
type httpError struct {
	status int
	debug  string
}

// Error is what goes into the debug member.
func (e *httpError) Error() string { return e.debug }

func badRequest(format string, a ...any) error {
	return &httpError{http.StatusBadRequest, fmt.Sprintf(format, a...)}
}

// route serves a path that has been allowed. It is the daemon's reading of the target.
func (d *Device) route(w http.ResponseWriter, r *http.Request, path string) {
	thing, ok := d.tree[strings.TrimSuffix(path, "/")]
	switch {
	case !ok:
		fail(w, http.StatusNotFound, "there is no such resource on this device")
	case thing.get == nil:
		w.Header().Set("Upgrade", "websocket")
		fail(w, http.StatusUpgradeRequired, "this is a WebSocket")
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		thing.write(w, thing.get())
	case r.Method == http.MethodPatch && thing.patch != nil:
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
		if err != nil {
			fail(w, http.StatusBadRequest, "the body cannot be read")
			return
		}
		document, err := thing.patch(body)
		if err != nil {
			status := http.StatusInternalServerError
			var known *httpError
			if errors.As(err, &known) {
				status = known.status
			}
			fail(w, status, err.Error())
			return
		}
		thing.write(w, document)
	default:
		allow := "GET, HEAD, OPTIONS"
		if thing.patch != nil {
			allow = methods
		}
		w.Header().Set("Allow", allow)
		fail(w, http.StatusMethodNotAllowed, "this resource does not have that method")
	}
}

func (thing resource) write(w http.ResponseWriter, document any) {
	if t, ok := document.(text); ok {
		w.Header().Set("Content-Type", thing.media)
		_, _ = io.WriteString(w, string(t)) // the client may be gone: its affair
		return
	}
	writeJSON(w, http.StatusOK, document)
}

// fail answers with the error body of NMOS APIs (ANS-7).
func fail(w http.ResponseWriter, status int, debug string) { failSaying(w, status, "", debug) }

// failSaying is fail with a text for people; "" means the status in words.
func failSaying(w http.ResponseWriter, status int, text, debug string) {
	if text == "" {
		text = http.StatusText(status)
	}
	writeJSON(w, status, struct {
		Code  int    `json:"code"`
		Error string `json:"error"`
		Debug string `json:"debug"`
	}{status, text, debug})
}

func writeJSON(w http.ResponseWriter, status int, document any) {
	body, err := json.Marshal(document)
	if err != nil { // a document of our own that is not JSON
		status, body = http.StatusInternalServerError,
			[]byte(`{"code":500,"error":"Internal Server Error","debug":null}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
