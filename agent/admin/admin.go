// Package admin is the administration socket: HTTP/1.1 on a Unix stream socket, served by httpauth.Server. It knows the
// paths, methods and bounds, and does nothing itself: what is shown and changed comes from the functions that it is
// given.
//
//	curl --unix-socket /run/nmos-authd/admin.sock http://localhost/inventory
//	curl --unix-socket /run/nmos-authd/admin.sock -T inventory.json http://localhost/inventory
//	curl --unix-socket /run/nmos-authd/admin.sock http://localhost/observe
//	curl --unix-socket /run/nmos-authd/admin.sock -X POST 'http://localhost/observe/mode?for=30m'
//	curl --unix-socket /run/nmos-authd/admin.sock -X DELETE http://localhost/observe/mode
//	curl --unix-socket /run/nmos-authd/admin.sock -X POST 'http://localhost/refresh?issuer=https://auth.example.com'
//	curl --unix-socket /run/nmos-authd/admin.sock -N 'http://localhost/watch?last=10&denied=true'
//	curl --unix-socket /run/nmos-authd/admin.sock http://localhost/status
//	curl --unix-socket /run/nmos-authd/admin.sock http://localhost/metrics
//	curl --unix-socket /run/nmos-authd/admin.sock 'http://localhost/keys?issuer=https://auth.example.com'
//	curl --unix-socket /run/nmos-authd/admin.sock -X DELETE 'http://localhost/servers?issuer=https://auth.example.com'
//	curl --unix-socket /run/nmos-authd/admin.sock -X POST http://localhost/client
//	curl --unix-socket /run/nmos-authd/admin.sock -X POST http://localhost/client/key
//	curl --unix-socket /run/nmos-authd/admin.sock -X DELETE 'http://localhost/client?issuer=https://auth.example.com'
//	curl --unix-socket /run/nmos-authd/admin.sock -X POST http://localhost/certs
//	curl --unix-socket /run/nmos-authd/admin.sock -X POST http://localhost/certs/renew
//
// Errors are NMOS errors in JSON: code, error, debug (ANS-7). Who may connect is the socket's affair: its file's mode
// and group.
package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"nmosauthd/agent/audit"
	"nmosauthd/agent/httpauth"
)

// MaxBody is the longest body of a request, bytes; what the functions take may be less.
const MaxBody = 4 << 20

// ErrFixed is wrapped by errors about something that only the configuration can change: 409.
var ErrFixed = errors.New("it cannot be changed here")

// Bounds of how long an administrator may have everything observed.
const (
	leastObserve = time.Second
	MostObserve  = 24 * time.Hour
)

// ErrUnknown is wrapped by errors about something that does not exist: 404.
var ErrUnknown = errors.New("not known")

// Functions are what the socket shows and does. They are called by any number of connections at a time.
type Functions struct {
	// Inventory returns the inventory's document in force, nil if there is none. It is not written to.
	Inventory func() []byte
	// PushInventory applies a document, which it may keep. An error says what is wrong with it.
	PushInventory func(document []byte) error
	// Record returns the audit's line about a decision, without a line feed; ok is false if it is not remembered.
	Record func(seq uint64) (line []byte, ok bool)
	// Remembered returns the first and the last decision that is remembered, 0 and 0 if none is.
	Remembered func() (first, last uint64)
	// Last returns the audit's lines about the last decisions that match; Watch gives these, and more as they are made,
	// nil if too many watch.
	Last  func(last int, match func(*audit.Record) bool) []byte
	Watch func(last int, match func(*audit.Record) bool) *audit.Watcher
	// Observed returns the report of what was observed, as JSON.
	Observed func() ([]byte, error)
	// ForgetObserved restarts the observation.
	ForgetObserved func()
	// StartObserve has everything observed for some time and returns until when, as JSON; StopObserve ends that, and
	// ErrUnknown is wrapped if there is none. Who asks is the peer of the context's connection (httpauth.ConnOf).
	StartObserve func(ctx context.Context, span time.Duration) ([]byte, error)
	StopObserve  func(ctx context.Context) error
	// Refresh fetches keys, of all issuers if issuer is empty, and returns what changed, as JSON.
	Refresh func(ctx context.Context, issuer string) ([]byte, error)
	// ForgetServer drops an issuer with its keys. ErrFixed is wrapped if the configuration names it, ErrUnknown if
	// there is none.
	ForgetServer func(issuer string) error
	// RegisterClient has the device registered as an OAuth client now, and waits for the outcome; ForgetClient ends
	// that, and says what may have stayed behind at the server (CLI-43); RotateClient begins to replace its key
	// (CLI-68). Issuer may be empty. ErrFixed is wrapped if the state of things says otherwise, ErrUnknown if there is
	// no such client.
	RegisterClient func(ctx context.Context, issuer string) error
	ForgetClient   func(ctx context.Context, issuer string) (left string, err error)
	RotateClient   func(ctx context.Context, issuer string) error
	// Certificates has the device ask for its certificates now: from the beginning if enrol is set, else by renewing
	// those that it holds. It waits for the outcome. ErrFixed is wrapped if the configuration has it ask for none.
	Certificates func(ctx context.Context, enrol bool) error
	// Keys returns the key set that is held of an issuer, nil if none.
	Keys func(issuer string) ([]byte, error)
	// Status returns the state of the daemon, as JSON.
	Status func() ([]byte, error)
	// Metrics returns that in the text format of Prometheus.
	Metrics func() ([]byte, error)
}

// Handler returns the handler of the socket. It reads bodies, up to MaxBody.
func Handler(f Functions) http.Handler {
	m := &mux{Functions: f}
	m.paths = map[string][]method{
		"/inventory":    {{http.MethodGet, m.getInventory}, {http.MethodPut, m.putInventory}},
		"/keys":         {{http.MethodGet, m.getKeys}},
		"/records":      {{http.MethodGet, m.getRecords}},
		"/watch":        {{http.MethodGet, m.watch}},
		"/status":       {{http.MethodGet, document("application/json", f.Status)}},
		"/metrics":      {{http.MethodGet, document("text/plain; version=0.0.4; charset=utf-8", f.Metrics)}},
		"/servers":      {{http.MethodDelete, m.forgetServer}},
		"/client":       {{http.MethodPost, m.registerClient}, {http.MethodDelete, m.forgetClient}},
		"/client/key":   {{http.MethodPost, m.rotateClient}},
		"/certs":        {{http.MethodPost, m.certificates(true)}},
		"/certs/renew":  {{http.MethodPost, m.certificates(false)}},
		"/observe/mode": {{http.MethodPost, m.startObserve}, {http.MethodDelete, m.stopObserve}},
		"/refresh":      {{http.MethodPost, m.refresh}},
		"/observe": {{http.MethodGet, document("application/json", f.Observed)},
			{http.MethodDelete, m.forgetObserved}},
	}
	return m
}

type mux struct {
	Functions
	paths   map[string][]method
	pushing sync.Mutex // one body is held at a time
}

type method struct {
	name  string
	serve http.HandlerFunc
}

func (m *mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	methods, known := m.paths[r.URL.Path]
	if !known {
		httpauth.Fail(w, http.StatusNotFound, "there is nothing at this path", "not-found")
		return
	}
	at := slices.IndexFunc(methods, func(has method) bool { return has.name == r.Method })
	if at < 0 {
		var names []string
		for _, has := range methods {
			names = append(names, has.name)
		}
		allow := strings.Join(names, ", ")
		w.Header().Set("Allow", allow)
		httpauth.Fail(w, http.StatusMethodNotAllowed, "this path does not have this method", allow)
		return
	}
	methods[at].serve(w, r)
}

func (m *mux) getInventory(w http.ResponseWriter, _ *http.Request) {
	document := m.Inventory()
	if document == nil {
		httpauth.Fail(w, http.StatusNotFound, "no inventory has been read or pushed yet", "inventory-pending")
		return
	}
	send(w, "application/json", document)
}

// send answers with a text of known length, so that callers of few means need not read chunks.
func send(w http.ResponseWriter, kind string, text []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.Write(text)
}

func (m *mux) getKeys(w http.ResponseWriter, r *http.Request) {
	issuer := r.URL.Query()["issuer"]
	if len(issuer) != 1 {
		httpauth.Fail(w, http.StatusBadRequest, "which issuer's keys?", "issuer=ISSUER")
		return
	}
	set, err := m.Keys(issuer[0])
	switch {
	case err != nil:
		httpauth.Fail(w, http.StatusInternalServerError, "the keys cannot be shown", err.Error())
		return
	case set == nil:
		httpauth.Fail(w, http.StatusNotFound, "no keys of this issuer are held", "keys-pending")
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Content-Length", strconv.Itoa(len(set)))
	w.Write(set)
}

func (m *mux) putInventory(w http.ResponseWriter, r *http.Request) {
	const tooLong, unread = "the document is too long", "the document did not arrive whole"
	if r.ContentLength > MaxBody {
		httpauth.Fail(w, http.StatusRequestEntityTooLarge, tooLong, "4 MiB at most")
		return
	}
	if !m.pushing.TryLock() {
		w.Header().Set("Retry-After", "1")
		httpauth.Fail(w, http.StatusServiceUnavailable, "another inventory is being pushed", "one at a time")
		return
	}
	defer m.pushing.Unlock()
	document, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	switch {
	case len(document) > MaxBody:
		httpauth.Fail(w, http.StatusRequestEntityTooLarge, tooLong, "4 MiB at most")
		return
	case err != nil:
		httpauth.Fail(w, http.StatusBadRequest, unread, err.Error())
		return
	}
	switch err = m.PushInventory(slices.Clip(document)); {
	case errors.Is(err, ErrFixed):
		httpauth.Fail(w, http.StatusConflict, "the inventory is not taken from here", err.Error())
	case err != nil:
		httpauth.Fail(w, http.StatusBadRequest, "the inventory is refused, and the previous one stays in force",
			err.Error())
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// document serves what a function makes at each request.
func document(kind string, make func() ([]byte, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		text, err := make()
		if err != nil {
			httpauth.Fail(w, http.StatusInternalServerError, "the report could not be made", err.Error())
			return
		}
		send(w, kind, text)
	}
}

func (m *mux) forgetObserved(w http.ResponseWriter, _ *http.Request) {
	m.ForgetObserved()
	w.WriteHeader(http.StatusNoContent)
}

func (m *mux) startObserve(w http.ResponseWriter, r *http.Request) {
	m.observe(w, r, r.URL.Query().Get("for"), MostObserve, "1s to 24h")
}

// observe begins an observe mode, for the time that a caller names. It is from a second to most, which bounds spells.
func (m *mux) observe(w http.ResponseWriter, r *http.Request, asked string, most time.Duration, bounds string) {
	const text = "observe mode is not begun"
	span, err := time.ParseDuration(asked)
	switch {
	case err != nil:
		httpauth.Fail(w, http.StatusBadRequest, "for how long?", "for=30m")
		return
	case span < leastObserve || span > most:
		httpauth.Fail(w, http.StatusBadRequest, text, span.String()+" is out of range; it must be "+bounds)
		return
	}
	if view, err := m.StartObserve(r.Context(), span); !failed(w, err, text, "") {
		send(w, "application/json", view)
	}
}

func (m *mux) stopObserve(w http.ResponseWriter, r *http.Request) {
	if !failed(w, m.StopObserve(r.Context()), "observe mode", "nothing to stop") {
		w.WriteHeader(http.StatusNoContent)
	}
}

func (m *mux) refresh(w http.ResponseWriter, r *http.Request) {
	if view, err := m.Refresh(r.Context(), r.URL.Query().Get("issuer")); !failed(w, err, "not refreshed",
		"there is no such issuer") {
		send(w, "application/json", view)
	}
}

func (m *mux) forgetServer(w http.ResponseWriter, r *http.Request) {
	err := m.ForgetServer(r.URL.Query().Get("issuer"))
	if !failed(w, err, "this issuer is not forgotten", "there is no such issuer") {
		w.WriteHeader(http.StatusNoContent)
	}
}

// failed answers with an error, if there is one, and reports whether there is.
func failed(w http.ResponseWriter, err error, text, unknown string) bool {
	switch {
	case errors.Is(err, ErrFixed):
		httpauth.Fail(w, http.StatusConflict, text, err.Error())
	case errors.Is(err, ErrUnknown):
		httpauth.Fail(w, http.StatusNotFound, unknown, strings.TrimSuffix(err.Error(), ": "+ErrUnknown.Error()))
	case err != nil:
		httpauth.Fail(w, http.StatusInternalServerError, text, err.Error())
	}
	return err != nil
}

func (m *mux) registerClient(w http.ResponseWriter, r *http.Request) {
	err := m.RegisterClient(r.Context(), r.URL.Query().Get("issuer"))
	if !failed(w, err, "the device is not registered", "there is no such issuer") {
		w.WriteHeader(http.StatusNoContent)
	}
}

func (m *mux) rotateClient(w http.ResponseWriter, r *http.Request) {
	err := m.RotateClient(r.Context(), r.URL.Query().Get("issuer"))
	if !failed(w, err, "the client's key is not replaced", "there is no such client") {
		w.WriteHeader(http.StatusNoContent)
	}
}

func (m *mux) certificates(enrol bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !failed(w, m.Certificates(r.Context(), enrol), "no certificate", "") {
			w.WriteHeader(http.StatusNoContent)
		}
	}
}

// forgetClient answers with what stayed behind at the server, as text.
func (m *mux) forgetClient(w http.ResponseWriter, r *http.Request) {
	left, err := m.ForgetClient(r.Context(), r.URL.Query().Get("issuer"))
	if !failed(w, err, "the client is not forgotten", "there is no such client") {
		send(w, "text/plain; charset=utf-8", []byte(left))
	}
}
