// Package admin is the administration socket: HTTP/1.1 on a Unix stream socket, served by httpauth.Server. It knows the
// paths, methods and bounds, and does nothing itself: what is shown and changed comes from the Daemon that it is given.
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
//	curl --unix-socket /run/nmos-authd/admin.sock -T pair.pem http://localhost/certs
//	curl --unix-socket /run/nmos-authd/admin.sock -X DELETE 'http://localhost/certs?what=ecdsa'
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

// Daemon is what the sockets show and do. Its methods are called by any number of connections at a time.
type Daemon interface {
	// Inventory returns the inventory's document in force, nil if there is none. It is not written to.
	Inventory() []byte
	// PushInventory applies a document, which it may keep. An error says what is wrong with it.
	PushInventory(document []byte) error
	// Record returns the audit's line about a decision, without a line feed; ok is false if it is not remembered.
	Record(seq uint64) (line []byte, ok bool)
	// Remembered returns the first and the last decision that is remembered, 0 and 0 if none is.
	Remembered() (first, last uint64)
	// Last returns the audit's lines about the last decisions that match; Watch gives these, and more as they are made,
	// nil if too many watch.
	Last(last int, match func(*audit.Record) bool) []byte
	Watch(last int, match func(*audit.Record) bool) *audit.Watcher
	// Observed returns the report of what was observed, as JSON.
	Observed() ([]byte, error)
	// ForgetObserved restarts the observation.
	ForgetObserved()
	// StartObserve has everything observed for some time and returns until when, as JSON; StopObserve ends that, and
	// ErrUnknown is wrapped if there is none. Who asks is the peer of the context's connection (httpauth.ConnOf).
	StartObserve(ctx context.Context, span time.Duration) ([]byte, error)
	StopObserve(ctx context.Context) error
	// Refresh fetches keys, of all issuers if issuer is empty, and returns what changed, as JSON.
	Refresh(ctx context.Context, issuer string) ([]byte, error)
	// ForgetServer drops an issuer with its keys. ErrFixed is wrapped if the configuration names it, ErrUnknown if
	// there is none.
	ForgetServer(issuer string) error
	// RegisterClient has the device registered as an OAuth client now, and waits for the outcome; ForgetClient ends
	// that, and says what may have stayed behind at the server (CLI-43); RotateClient begins to replace its key
	// (CLI-68). Issuer may be empty. ErrFixed is wrapped if the state of things says otherwise, ErrUnknown if there is
	// no such client.
	RegisterClient(ctx context.Context, issuer string) error
	ForgetClient(ctx context.Context, issuer string) (left string, err error)
	RotateClient(ctx context.Context, issuer string) error
	// ChangeCerts has the device ask for its certificates now: from the beginning if enrol is set, else by renewing
	// those that it holds. It waits for the outcome. ErrFixed is wrapped if the configuration has it ask for none.
	ChangeCerts(ctx context.Context, enrol bool) error
	// InstallCertificate takes a key with its certificate, in PEM, that a person has; RemoveCertificates takes away
	// that of a kind of keys, or all. Both return once the web server's files are so. ErrFixed is wrapped if that
	// cannot be.
	InstallCertificate(ctx context.Context, text []byte) error
	RemoveCertificates(ctx context.Context, what string) error
	// Keys returns the key set that is held of an issuer, nil if none.
	Keys(issuer string) ([]byte, error)
	// Status returns the state of the daemon, as JSON.
	Status() ([]byte, error)
	// Metrics returns that in the text format of Prometheus.
	Metrics() ([]byte, error)
}

// Handler returns the handler of the admin socket. It reads bodies, up to MaxBody.
func Handler(d Daemon) http.Handler { return &socket{daemon: d, routes: adminRoutes} }

// route is a method of a path, and what serves it.
type route struct {
	path, method string
	serve        func(*socket, http.ResponseWriter, *http.Request)
}

// adminRoutes are what the admin socket has.
var adminRoutes = []route{
	{"/inventory", http.MethodGet, (*socket).getInventory},
	{"/inventory", http.MethodPut, (*socket).putInventory},
	{"/keys", http.MethodGet, (*socket).getKeys},
	{"/records", http.MethodGet, (*socket).getRecords},
	{"/watch", http.MethodGet, (*socket).watch},
	{"/status", http.MethodGet, (*socket).getStatus},
	{"/metrics", http.MethodGet, (*socket).getMetrics},
	{"/servers", http.MethodDelete, (*socket).forgetServer},
	{"/client", http.MethodPost, (*socket).registerClient},
	{"/client", http.MethodDelete, (*socket).forgetClient},
	{"/client/key", http.MethodPost, (*socket).rotateClient},
	{"/certs", http.MethodPost, (*socket).enrol},
	{"/certs", http.MethodPut, (*socket).installCertificate},
	{"/certs", http.MethodDelete, (*socket).removeCertificates},
	{"/certs/renew", http.MethodPost, (*socket).renew},
	{"/observe/mode", http.MethodPost, (*socket).startObserve},
	{"/observe/mode", http.MethodDelete, (*socket).stopObserve},
	{"/refresh", http.MethodPost, (*socket).refresh},
	{"/observe", http.MethodGet, (*socket).getObserved},
	{"/observe", http.MethodDelete, (*socket).forgetObserved},
}

// socket is the admin socket or the view socket.
type socket struct {
	daemon  Daemon
	routes  []route
	pushing sync.Mutex // one body is held at a time

	// Of the view socket alone.
	viewing   Viewing
	guard     string // of what changes something; other at each start
	following chan struct{}
	turns     turns
}

func (s *socket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	var allow []string
	for i := range s.routes {
		switch has := &s.routes[i]; {
		case has.path != r.URL.Path:
		case has.method == r.Method:
			has.serve(s, w, r)
			return
		default:
			allow = append(allow, has.method)
		}
	}
	if allow == nil {
		httpauth.Fail(w, http.StatusNotFound, "there is nothing at this path", "not-found")
		return
	}
	notAllowed(w, strings.Join(allow, ", "))
}

// notAllowed answers to another method than these.
func notAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	httpauth.Fail(w, http.StatusMethodNotAllowed, "this path does not have this method", allow)
}

// busy answers that it is too much just now, and after how many seconds to come again.
func busy(w http.ResponseWriter, seconds, text, bounds string) {
	w.Header().Set("Retry-After", seconds)
	httpauth.Fail(w, http.StatusServiceUnavailable, text, bounds)
}

func (s *socket) getInventory(w http.ResponseWriter, _ *http.Request) {
	document := s.daemon.Inventory()
	if document == nil {
		httpauth.Fail(w, http.StatusNotFound, "no inventory has been read or pushed yet", "inventory-pending")
		return
	}
	send(w, jsonText, document)
}

// The types of what is sent.
const (
	jsonText  = "application/json"
	plainText = "text/plain; charset=utf-8"
)

// send answers with a text of known length, so that callers of few means need not read chunks.
func send(w http.ResponseWriter, kind string, text []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.Write(text)
}

func (s *socket) getKeys(w http.ResponseWriter, r *http.Request) {
	issuer := r.URL.Query()["issuer"]
	if len(issuer) != 1 {
		httpauth.Fail(w, http.StatusBadRequest, "which issuer's keys?", "issuer=ISSUER")
		return
	}
	set, err := s.daemon.Keys(issuer[0])
	switch {
	case err != nil:
		httpauth.Fail(w, http.StatusInternalServerError, "the keys cannot be shown", err.Error())
		return
	case set == nil:
		httpauth.Fail(w, http.StatusNotFound, "no keys of this issuer are held", "keys-pending")
		return
	}
	send(w, "application/jwk-set+json", set)
}

func (s *socket) putInventory(w http.ResponseWriter, r *http.Request) {
	const tooLong, unread = "the document is too long", "the document did not arrive whole"
	if r.ContentLength > MaxBody {
		httpauth.Fail(w, http.StatusRequestEntityTooLarge, tooLong, "4 MiB at most")
		return
	}
	if !s.pushing.TryLock() {
		busy(w, "1", "another inventory is being pushed", "one at a time")
		return
	}
	defer s.pushing.Unlock()
	document, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	switch {
	case len(document) > MaxBody:
		httpauth.Fail(w, http.StatusRequestEntityTooLarge, tooLong, "4 MiB at most")
		return
	case err != nil:
		httpauth.Fail(w, http.StatusBadRequest, unread, err.Error())
		return
	}
	switch err = s.daemon.PushInventory(slices.Clip(document)); {
	case errors.Is(err, ErrFixed):
		httpauth.Fail(w, http.StatusConflict, "the inventory is not taken from here", err.Error())
	case err != nil:
		httpauth.Fail(w, http.StatusBadRequest, "the inventory is refused, and the previous one stays in force",
			err.Error())
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *socket) getStatus(w http.ResponseWriter, _ *http.Request) {
	text, err := s.daemon.Status()
	report(w, jsonText, text, err)
}

func (s *socket) getMetrics(w http.ResponseWriter, _ *http.Request) {
	text, err := s.daemon.Metrics()
	report(w, "text/plain; version=0.0.4; charset=utf-8", text, err)
}

func (s *socket) getObserved(w http.ResponseWriter, _ *http.Request) {
	text, err := s.daemon.Observed()
	report(w, jsonText, text, err)
}

// report answers with a text, or why there is none.
func report(w http.ResponseWriter, kind string, text []byte, err error) {
	if err != nil {
		httpauth.Fail(w, http.StatusInternalServerError, "the report could not be made", err.Error())
		return
	}
	send(w, kind, text)
}

func (s *socket) forgetObserved(w http.ResponseWriter, _ *http.Request) {
	s.daemon.ForgetObserved()
	w.WriteHeader(http.StatusNoContent)
}

func (s *socket) startObserve(w http.ResponseWriter, r *http.Request) {
	s.observe(w, r, r.URL.Query().Get("for"), MostObserve, "1s to 24h")
}

// observe begins an observe mode, for the time that a caller names. It is from a second to most, which bounds spells.
func (s *socket) observe(w http.ResponseWriter, r *http.Request, asked string, most time.Duration, bounds string) {
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
	if view, err := s.daemon.StartObserve(r.Context(), span); !failed(w, err, text, "") {
		send(w, jsonText, view)
	}
}

func (s *socket) stopObserve(w http.ResponseWriter, r *http.Request) {
	changed(w, s.daemon.StopObserve(r.Context()), "observe mode", "nothing to stop")
}

func (s *socket) refresh(w http.ResponseWriter, r *http.Request) {
	view, err := s.daemon.Refresh(r.Context(), issuerOf(r))
	if !failed(w, err, "not refreshed", noIssuer) {
		send(w, jsonText, view)
	}
}

func (s *socket) forgetServer(w http.ResponseWriter, r *http.Request) {
	changed(w, s.daemon.ForgetServer(issuerOf(r)), "this issuer is not forgotten", noIssuer)
}

func (s *socket) registerClient(w http.ResponseWriter, r *http.Request) {
	changed(w, s.daemon.RegisterClient(r.Context(), issuerOf(r)), "the device is not registered", noIssuer)
}

func (s *socket) rotateClient(w http.ResponseWriter, r *http.Request) {
	changed(w, s.daemon.RotateClient(r.Context(), issuerOf(r)), "the client's key is not replaced", noClient)
}

// forgetClient answers with what stayed behind at the server, as text.
func (s *socket) forgetClient(w http.ResponseWriter, r *http.Request) {
	left, err := s.daemon.ForgetClient(r.Context(), issuerOf(r))
	if !failed(w, err, "the client is not forgotten", noClient) {
		send(w, plainText, []byte(left))
	}
}

func (s *socket) enrol(w http.ResponseWriter, r *http.Request) { s.certs(w, r, true) }

func (s *socket) renew(w http.ResponseWriter, r *http.Request) { s.certs(w, r, false) }

func (s *socket) certs(w http.ResponseWriter, r *http.Request, enrol bool) {
	changed(w, s.daemon.ChangeCerts(r.Context(), enrol), "no certificate", "")
}

// maxPair is the longest text with a key and its certificates, in bytes.
const maxPair = 128 << 10

func (s *socket) installCertificate(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(io.LimitReader(r.Body, maxPair+1))
	switch {
	case len(text) > maxPair:
		err = errors.New("over 128 KiB")
	case err == nil:
		err = s.daemon.InstallCertificate(r.Context(), text)
	}
	taken(w, err, "the certificate is not installed")
}

func (s *socket) removeCertificates(w http.ResponseWriter, r *http.Request) {
	err := s.daemon.RemoveCertificates(r.Context(), r.URL.Query().Get("what"))
	taken(w, err, "the certificate is not removed")
}

// taken is changed for what fails, if it does, for what was asked.
func taken(w http.ResponseWriter, err error, text string) {
	if err != nil && !errors.Is(err, ErrFixed) {
		httpauth.Fail(w, http.StatusBadRequest, text, err.Error())
		return
	}
	changed(w, err, text, "")
}

// What is not known by the name that a request gives.
const (
	noIssuer = "there is no such issuer"
	noClient = "there is no such client"
)

// issuerOf returns the issuer that a request names, "" if none.
func issuerOf(r *http.Request) string { return r.URL.Query().Get("issuer") }

// changed answers with what came of a change that has nothing to say.
func changed(w http.ResponseWriter, err error, text, unknown string) {
	if !failed(w, err, text, unknown) {
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
