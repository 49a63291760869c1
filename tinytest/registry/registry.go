// Package registry pretends to be an IS-04 registry, v1.3: Registration API and Query API over real TLS on the loopback
// interface, with resources that end when their node's heartbeats do.
//
// It is protected as a device is: it asks an nmos-authd of its own about every request before it serves it, and routes
// on the path of the reply. What the daemon cannot know it does itself, as BCP-003-02 demands: a resource belongs to
// the client whose token registered its node, and is changed and kept alive by no other (403 insufficient_scope,
// CLI-11).
//
// Limits: for tests and demonstrations. No paging, no RQL, and of subscriptions only those that are not persistent and
// have no parameters: what else is asked for is 501.
package registry

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"nmosauthd/tinytest/firmware"
)

// Expiry is how long a node lives without a heartbeat (IS-04 Behaviour: Registration).
const Expiry = 12 * time.Second

// The APIs.
const (
	RegistrationAPI = "/x-nmos/registration/v1.3"
	QueryAPI        = "/x-nmos/query/v1.3"
)

// bodyLimit is the longest body of a request, in bytes.
const bodyLimit = 1 << 20

// Options are what Start needs to know.
type Options struct {
	Socket  string           // path of authz.sock of the registry's own daemon
	TLS     *tls.Config      // needed
	Host    string           // its name in its URL; "" means the address
	Addr    string           // where to listen; "" means 127.0.0.1:0
	Timeout time.Duration    // of one question to the daemon; 0 means firmware.DefaultTimeout
	Now     func() time.Time // by which nodes end; nil means time.Now
	Logf    func(format string, a ...any)
}

// Registry is a running registry. Close it. Its methods may be called from any number of goroutines.
type Registry struct {
	opt      Options
	asker    *firmware.Asker
	server   *http.Server
	url      string
	asked    atomic.Uint64
	serving  sync.WaitGroup
	closing  context.Context
	release  context.CancelFunc
	once     sync.Once
	closeErr error

	mu            sync.Mutex
	resources     map[string]*entry // by id
	beats         map[string]time.Time
	serial        uint64
	subscriptions map[string]subscription
	followers     map[*follower]bool
}

// Start listens and serves.
func Start(o Options) (*Registry, error) {
	if o.TLS == nil {
		return nil, errors.New("registry: without TLS nobody could trust it")
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	address := l.Addr().(*net.TCPAddr)
	if o.Host == "" {
		o.Host = address.IP.String()
	}
	r := &Registry{
		opt: o, asker: firmware.NewAsker(o.Socket, o.Timeout), resources: map[string]*entry{},
		beats: map[string]time.Time{}, subscriptions: map[string]subscription{}, followers: map[*follower]bool{},
		url: "https://" + net.JoinHostPort(o.Host, strconv.Itoa(address.Port)),
	}
	r.closing, r.release = context.WithCancel(context.Background())
	r.server = &http.Server{
		Handler:                      r,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            10 * time.Second,
		ReadTimeout:                  30 * time.Second,
		ErrorLog:                     log.New(io.Discard, "", 0),
	}
	r.serving.Go(func() {
		if err := r.server.Serve(tls.NewListener(l, o.TLS)); !errors.Is(err, http.ErrServerClosed) {
			r.logf("registry: %v", err)
		}
	})
	return r, nil
}

// Close stops the registry.
func (r *Registry) Close() error {
	r.once.Do(func() {
		r.release()
		r.closeErr = errors.Join(r.server.Close(), r.asker.Close())
		r.serving.Wait()
	})
	return r.closeErr
}

// URL is the registry's origin.
func (r *Registry) URL() string { return r.url }

// Port is the port that it listens on.
func (r *Registry) Port() string { return r.url[strings.LastIndexByte(r.url, ':')+1:] }

func (r *Registry) logf(format string, a ...any) {
	if r.opt.Logf != nil {
		r.opt.Logf(format, a...)
	}
}

// methods are what its resources have at most.
const methods = "GET, HEAD, OPTIONS, POST, DELETE"

// problem is an answer that is an error.
type problem struct {
	status int
	debug  string
}

func (p *problem) Error() string { return p.debug }

func bad(status int, format string, a ...any) error {
	return &problem{status, fmt.Sprintf(format, a...)}
}

// ServeHTTP asks, and serves what is allowed.
func (r *Registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	if s, ok := r.socketOf(q); ok {
		r.follow(w, q, s)
		return
	}
	reply, err := r.ask(r.asker, q, "decide 1", "method="+q.Method, "target="+q.RequestURI)
	if r.admit(w, q, reply, err) {
		r.serve(w, q, reply)
	}
}

// ask puts a question, with the request's token.
func (r *Registry) ask(asker *firmware.Asker, q *http.Request, lines ...string) (firmware.Reply, error) {
	if values := q.Header.Values("Authorization"); len(values) > 0 {
		lines = append(lines, "authorization="+strings.Join(values, ", "))
	}
	return asker.Ask(append(lines, "id="+strconv.FormatUint(r.asked.Add(1), 10))...)
}

// admit answers the request unless the reply allows it, and returns whether it does.
func (r *Registry) admit(w http.ResponseWriter, q *http.Request, reply firmware.Reply, err error) bool {
	if err != nil {
		r.logf("%s %s: 503: %v", q.Method, q.URL.Path, err)
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusServiceUnavailable, "the authorization daemon cannot be asked")
		return false
	}
	r.logf("%s %s: %s %d %s", q.Method, q.URL.Path, reply.Verdict, reply.Status, reply.Reason)
	if !reply.Allowed() {
		w.Header().Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After, Allow")
		if reply.WWWAuthenticate != "" {
			w.Header().Set("WWW-Authenticate", reply.WWWAuthenticate)
		}
		if reply.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(reply.RetryAfter))
		}
		fail(w, max(reply.Status, http.StatusBadRequest), reply.Reason)
	}
	return reply.Allowed()
}

// serve serves what is allowed.
func (r *Registry) serve(w http.ResponseWriter, q *http.Request, reply firmware.Reply) {
	if q.Method == http.MethodOptions {
		w.Header().Set("Allow", methods)
		w.Header().Set("Access-Control-Allow-Methods", methods)
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		return
	}
	if reply.Path == "" {
		fail(w, http.StatusBadRequest, "this path cannot be read in one way only")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, q.Body, bodyLimit)) // not under the lock: the client may be slow
	if err != nil {
		fail(w, http.StatusBadRequest, "the body cannot be read, or is too long")
		return
	}
	status, document, err := r.locked(w, q, body, strings.TrimSuffix(reply.Path, "/"), reply.ClientID)
	var p *problem
	switch {
	case errors.As(err, &p):
		if p.status == http.StatusForbidden { // RFC 6750 §3.1
			w.Header().Set("WWW-Authenticate", `Bearer realm="registry",error=insufficient_scope,`+
				`error_description="this node was registered by another client"`)
		}
		r.logf("%s %s: %d %s", q.Method, q.URL.Path, p.status, p.debug)
		fail(w, p.status, p.debug)
	case err != nil:
		fail(w, http.StatusInternalServerError, err.Error())
	default:
		write(w, status, document)
	}
}

// locked serves a path that was allowed, and returns the document as JSON, since it may change once the lock is free.
func (r *Registry) locked(w http.ResponseWriter, q *http.Request, body []byte, path, client string) (
	status int, document []byte, err error,
) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire()
	status, value, err := r.route(w, q, body, path, client)
	if err == nil && status != http.StatusNoContent {
		document, err = json.Marshal(value)
	}
	return status, document, err
}

// bases are the lists above the resources.
var bases = map[string][]string{
	"": {"x-nmos/"}, "/x-nmos": {"query/", "registration/"}, "/x-nmos/registration": {"v1.3/"},
	"/x-nmos/query": {"v1.3/"},
	RegistrationAPI: {"health/", "resource/"},
	QueryAPI:        {"devices/", "flows/", "nodes/", "receivers/", "senders/", "sources/", "subscriptions/"},
}

// route serves a path. The lock is held; client is whose token it is.
func (r *Registry) route(
	w http.ResponseWriter, q *http.Request, body []byte, path, client string,
) (int, any, error) {
	read := q.Method == http.MethodGet || q.Method == http.MethodHead
	if list, ok := bases[path]; ok {
		if !read {
			return 0, nil, bad(http.StatusMethodNotAllowed, "GET only")
		}
		return http.StatusOK, list, nil
	}
	if path == subscriptionsPath && q.Method == http.MethodPost {
		return r.subscribe(w, body)
	}
	if rest, ok := strings.CutPrefix(path, QueryAPI+"/"); ok {
		if !read { // a subscription that is not persistent ends by itself
			return 0, nil, bad(http.StatusMethodNotAllowed, "GET only")
		}
		document, err := r.query(q, strings.Split(rest, "/"))
		return http.StatusOK, document, err
	}
	parts := strings.Split(strings.TrimPrefix(path, RegistrationAPI+"/"), "/")
	switch {
	case len(parts) == 1 && parts[0] == "resource" && q.Method == http.MethodPost:
		return r.register(w, q, body, client)
	case len(parts) == 3 && parts[0] == "resource":
		e := r.resources[parts[2]]
		switch {
		case e == nil || e.kind+"s" != parts[1]:
			return 0, nil, bad(http.StatusNotFound, "there is no such resource")
		case read:
			return http.StatusOK, e.data, nil
		case q.Method == http.MethodDelete:
			if err := r.owned(e, client); err != nil {
				return 0, nil, err
			}
			r.remove(e.id)
			return http.StatusNoContent, nil, nil
		}
	case len(parts) == 3 && parts[0] == "health" && parts[1] == "nodes":
		return r.health(q.Method, parts[2], client)
	default:
		return 0, nil, bad(http.StatusNotFound, "there is no such resource")
	}
	return 0, nil, bad(http.StatusMethodNotAllowed, "this resource does not have that method")
}

// query answers the Query API, the newest resource first.
func (r *Registry) query(q *http.Request, parts []string) (any, error) {
	kind, plural := strings.CutSuffix(parts[0], "s")
	if parts[0] == "subscriptions" {
		return r.showSubscriptions(parts)
	}
	if _, known := kinds[kind]; !known || !plural || len(parts) > 2 {
		return nil, bad(http.StatusNotFound, "there is no such resource")
	}
	if len(parts) == 2 {
		if e := r.resources[parts[1]]; e != nil && e.kind == kind {
			return e.data, nil
		}
		return nil, bad(http.StatusNotFound, "there is no such resource")
	}
	wanted := q.URL.Query()
	for name := range wanted {
		if strings.HasPrefix(name, "query.") || strings.HasPrefix(name, "paging.") {
			return nil, bad(http.StatusNotImplemented, "this registry has no %s", name)
		}
	}
	var found []*entry
	for _, e := range r.resources {
		matches := e.kind == kind
		for name, values := range wanted { // IS-04 Query Parameters: basic queries
			text, isText := e.data[name].(string)
			matches = matches && isText && slices.Contains(values, text)
		}
		if matches {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b *entry) int { return int(int64(b.updated) - int64(a.updated)) })
	list := make([]any, len(found))
	for i, e := range found {
		list[i] = e.data
	}
	return list, nil
}

// fail answers with the error body of NMOS APIs (ANS-7).
func fail(w http.ResponseWriter, status int, debug string) {
	// plain text
	body, _ := json.Marshal(map[string]any{"code": status, "error": http.StatusText(status), "debug": debug})
	write(w, status, body)
}

func write(w http.ResponseWriter, status int, document []byte) {
	if document == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(document, '\n')) // the client may be gone: its affair
}
