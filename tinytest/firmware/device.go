// Package firmware pretends to be an audio device: a small NMOS Node that asks the daemon about every request before it
// serves it, as a device's firmware has to.
//
// It has an IS-04 Node API v1.3, an IS-05 Connection API v1.1 with single senders and receivers, and an IS-07 source, a
// level meter, with a WebSocket: it sends one state and closes, or with Options.Live goes on as IS-07 has it. It has a
// device model (package devicemodel), controlled over IS-12's WebSocket and IS-14's HTTP API, of which each command and
// subscription is asked about: its daemon should have [control] commands = "asked". Beside those it has a front panel,
// which speaks no HTTP and asks by the device's own names (see [Device.PanelAddr]), and it announces itself at an IS-04
// registry with a token of its own that it has from the daemon ([Device.Announce]). It is the second implementation of
// the decision socket's client side, written from the protocol's description; it imports nothing of agent/*.
//
// The order of work in [Device.ServeHTTP] is the one that a firmware should copy: ask with the request target as it
// came, answer a denial with the daemon's status and headers, and route on the path of the reply, never on its own
// reading of the target. When the daemon cannot be asked, nothing is served (503).
//
// Limits: for tests and demonstrations, on the loopback interface; activations are immediate only.
package firmware

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"nmosauthd/tinytest/devicemodel"
)

// Options are what Start needs to know.
type Options struct {
	Socket  string                        // path of the daemon's authz.sock
	Addr    string                        // where to listen; "" means 127.0.0.1:0
	Host    string                        // its name in its own URLs; "" means the address
	TLS     *tls.Config                   // of its APIs; nil means plain HTTP
	Live    bool                          // the WebSocket stays open; false: it sends one state and closes
	Label   string                        // the device's name for people; "" means "Pretend stage box"
	Timeout time.Duration                 // of one question; 0 means DefaultTimeout
	Logf    func(format string, a ...any) // one line a request; nil if none
	// Text says to people what a denial's reason means; nil, or "" from it: the status in words.
	Text func(reason string) string
	// Decided is called with every reply and how long it took to ask for it; nil: it is not.
	Decided func(reply Reply, took time.Duration)
}

// Device is a running pretend device. Close it. Its methods may be called from any number of goroutines.
type Device struct {
	opt      Options
	asker    *Asker
	server   *http.Server
	panel    net.PacketConn
	url      string
	tree     tree
	model    *model
	objects  *devicemodel.Model // what IS-12 and IS-14 control
	asked    atomic.Uint64
	closing  context.Context
	release  context.CancelFunc
	closeErr error
	once     sync.Once

	mu      sync.Mutex
	closed  bool
	serving sync.WaitGroup // Serve, and the requests being served; added to under mu while not closed
}

// Start listens and serves. The daemon need not be there yet.
func Start(o Options) (*Device, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Label == "" {
		o.Label = "Pretend stage box"
	}
	l, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("firmware: %w", err)
	}
	panel, err := net.ListenPacket("udp", net.JoinHostPort(l.Addr().(*net.TCPAddr).IP.String(), "0"))
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("firmware: %w", err)
	}
	address := l.Addr().(*net.TCPAddr)
	d := &Device{opt: o, panel: panel, asker: NewAsker(o.Socket, o.Timeout)}
	d.closing, d.release = context.WithCancel(context.Background())
	d.model, d.objects = newModel(o.Label, address), devicemodel.New(o.Label)
	if o.Host != "" {
		d.model.host = o.Host
	}
	if o.TLS != nil {
		d.model.scheme = "https"
		config := o.TLS.Clone()
		config.NextProtos = []string{"http/1.1"} // which has WebSockets
		l = tls.NewListener(l, config)
	}
	d.url = d.model.origin()
	d.tree = newTree(d.model)
	d.server = &http.Server{
		Handler: d,

		DisableGeneralOptionsHandler: true, // OPTIONS * is a request like any other: asked for
		ReadHeaderTimeout:            10 * time.Second,
		ReadTimeout:                  30 * time.Second, // of requests; a WebSocket sets its own
		ErrorLog:                     log.New(io.Discard, "", 0),
	}
	d.serving.Go(d.servePanel)
	d.serving.Go(func() {
		if err := d.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			d.logf("firmware: %v", err)
		}
	})
	return d, nil
}

// Close stops the device, ends its connections, and returns when all requests have ended.
func (d *Device) Close() error {
	d.once.Do(func() {
		d.mu.Lock()
		d.closed = true
		d.mu.Unlock()
		d.release()
		d.closeErr = errors.Join(d.server.Close(), d.panel.Close(), d.asker.Close())
		d.serving.Wait()
	})
	return d.closeErr
}

// URL is the device's origin, such as "http://127.0.0.1:40123".
func (d *Device) URL() string { return d.url }

// Asked is how many questions the device has put to the daemon.
func (d *Device) Asked() uint64 { return d.asked.Load() }

// Objects is the device's model, which IS-12 and IS-14 control.
func (d *Device) Objects() *devicemodel.Model { return d.objects }

// SetLevel sets what the level meter reads, in dBFS: the IS-07 source, and the model's meter of microphone 1.
func (d *Device) SetLevel(dBFS float64) {
	d.model.setLevel(dBFS)
	d.objects.SetLevel("mic-1", dBFS)
}

func (d *Device) logf(format string, a ...any) {
	if d.opt.Logf != nil {
		d.opt.Logf(format, a...)
	}
}

// methods are what the device's resources can have at most.
const methods = "GET, HEAD, OPTIONS, PATCH"

// enter counts a request as being served. It returns false once the device is closed.
func (d *Device) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.serving.Add(1)
	}
	return !d.closed
}

// ServeHTTP asks, and serves what is allowed.
func (d *Device) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !d.enter() {
		return
	}
	defer d.serving.Done()
	w.Header().Set("Access-Control-Allow-Origin", "*") // NMOS APIs are open to browsers; the token is what protects
	target := originForm(r.RequestURI)
	if bare, _, _ := strings.Cut(target, "?"); isHandshake(r) && bare == socketPath {
		d.handshake(w, r, target)
		return
	} else if isHandshake(r) && bare == ncpSocket {
		d.openModel(w, r, target)
		return
	}
	lines := []string{"decide 1", "method=" + r.Method, "target=" + target}
	reply, ok := d.ask(w, r, append(lines, credentials(r)...))
	if !ok {
		return
	}
	d.serve(w, r, target, reply.Path)
}

// serve serves what is allowed, by the path that was judged.
func (d *Device) serve(w http.ResponseWriter, r *http.Request, target, path string) {
	switch {
	case r.Method == http.MethodOptions:
		preflight(w)
	case path == "":
		fail(w, http.StatusBadRequest, "this path cannot be read in one way only")
	case path == socketPath && isHandshake(r): // the sources have not been asked for yet
		d.handshake(w, r, target)
	case path == ncpSocket && isHandshake(r): // the question is to be left standing
		d.openModel(w, r, target)
	case inConfiguration(path):
		d.configure(w, r, target, path)
	default:
		d.route(w, r, path)
	}
}

// question puts one question, with an id of its own.
func (d *Device) question(lines []string) (Reply, error) { return d.questionBy(d.asker, lines) }

func (d *Device) questionBy(asker *Asker, lines []string) (Reply, error) {
	lines = append(lines, "id="+strconv.FormatUint(d.asked.Add(1), 10))
	start := time.Now()
	reply, err := asker.Ask(lines...)
	if d.opt.Decided != nil && err == nil {
		d.opt.Decided(reply, time.Since(start))
	}
	return reply, err
}

// ask puts one question. Unless the answer is allow it answers the request and returns false.
func (d *Device) ask(w http.ResponseWriter, r *http.Request, lines []string) (Reply, bool) {
	reply, err := d.question(lines)
	return d.settle(w, r, reply, err)
}

// settle answers the request unless the reply is allow, and returns whether it is.
func (d *Device) settle(w http.ResponseWriter, r *http.Request, reply Reply, err error) (Reply, bool) {
	if err != nil {
		d.logf("%s %s: 503: %v", r.Method, r.URL.Path, err)
		w.Header().Set("Retry-After", "1")
		const text = "the authorization daemon cannot be asked"
		if inConfiguration(originForm(r.RequestURI)) {
			failMethod(w, http.StatusServiceUnavailable, text)
			return Reply{}, false
		}
		fail(w, http.StatusServiceUnavailable, text)
		return Reply{}, false
	}
	d.logf("%s %s: %s %d %s", r.Method, r.URL.Path, reply.Verdict, reply.Status, reply.Reason)
	if reply.Allowed() {
		return reply, true
	}
	w.Header().Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After, Allow")
	if reply.WWWAuthenticate != "" {
		w.Header().Set("WWW-Authenticate", reply.WWWAuthenticate)
	}
	if reply.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(reply.RetryAfter))
	}
	if reply.Status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", methods) // RFC 9110 §15.5.6
	}
	status := reply.Status
	if status < 400 { // pong, which was not asked for
		status = http.StatusServiceUnavailable
	}
	text := ""
	if d.opt.Text != nil {
		text = d.opt.Text(reply.Reason)
	}
	if inConfiguration(reply.Path) || reply.Path == "" && inConfiguration(originForm(r.RequestURI)) {
		failMethod(w, status, text+" ("+reply.Reason+")")
		return Reply{}, false
	}
	failSaying(w, status, text, reply.Reason)
	return Reply{}, false
}

// inConfiguration reports whether a path is in IS-14's API, whose errors have a body of their own (CTL-67).
func inConfiguration(path string) bool {
	rest, below := strings.CutPrefix(path, "/x-nmos/configuration")
	return below && (rest == "" || rest[0] == '/' || rest[0] == '?')
}

// failMethod answers with an NcMethodResultError. Its status, an NcMethodStatus, has no 403.
func failMethod(w http.ResponseWriter, status int, text string) {
	method := status
	if status == http.StatusForbidden {
		method = http.StatusUnauthorized
	}
	writeJSON(w, status, struct {
		Status       int    `json:"status"`
		ErrorMessage string `json:"errorMessage"`
	}{method, text})
}

// credentials are the lines that say how the request authenticates itself. A header given twice is joined as RFC 9110
// §5.3 says: to choose one of them is not the firmware's business.
func credentials(r *http.Request) []string {
	var lines []string
	if values := r.Header.Values("Authorization"); len(values) > 0 {
		lines = append(lines, "authorization="+strings.Join(values, ", "))
	}
	if isHandshake(r) {
		lines = append(lines, "upgrade=websocket")
	}
	return lines
}

// originForm cuts the scheme and the authority from a target in absolute form (RFC 9112 §3.2.2), and changes nothing
// else: the daemon must see what came.
func originForm(target string) string {
	for _, scheme := range []string{"http://", "https://"} {
		if len(target) > len(scheme) && strings.EqualFold(target[:len(scheme)], scheme) {
			rest := target[len(scheme):]
			i := strings.IndexAny(rest, "/?#")
			switch {
			case i < 0:
				return "/"
			case rest[i] == '/':
				return rest[i:]
			}
			return "/" + rest[i:]
		}
	}
	return target
}

func preflight(w http.ResponseWriter) {
	w.Header().Set("Allow", methods)
	w.Header().Set("Access-Control-Allow-Methods", methods)
	w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	w.WriteHeader(http.StatusOK)
}
