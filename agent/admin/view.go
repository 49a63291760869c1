package admin

import (
	"bytes"
	"context"
	"crypto/rand"
	"net/http"
	"slices"
	"time"

	"nmosauthd/agent/audit"
	"nmosauthd/agent/httpauth"
	"nmosauthd/agent/wire"
)

const (
	// maxEvents is how many may follow the decisions on the view socket at a time. Both sockets share the watchers of
	// the audit, and whoever has the browser must not keep the administrator from watching.
	maxEvents = audit.MaxWatchers / 2
	// beat is the longest silence of a stream of events: web servers give up on a longer one.
	beat = 15 * time.Second
)

// Viewing is what the view socket needs beyond Daemon.
type Viewing interface {
	// Explain explains a line of the audit.
	Explain(line []byte) ([]byte, error)
	// Acts returns what a page may have done now, of ActObserve and ActRefresh; nothing unless the configuration says
	// so.
	Acts() []string
	// Login says who sends a request, by a token of his that the configuration asks for, and for how long that lets him
	// (0: no end is known). who is "" if none is asked for. The request is refused unless refused is nil.
	Login(r *http.Request) (who string, left time.Duration, refused *wire.Reply)
}

// viewRoutes are what the view socket shows.
var viewRoutes = []route{
	{"/status", http.MethodGet, (*socket).getStatus},
	{"/inventory", http.MethodGet, (*socket).getInventory},
	{"/records", http.MethodGet, (*socket).getRecords},
	{"/observe", http.MethodGet, (*socket).getObserved},
	{"/actions", http.MethodGet, (*socket).getActions},
	{"/events", http.MethodGet, (*socket).follow},
	{"/explain", http.MethodGet, (*socket).explain},
}

// View returns the handler of the view socket, to which a web server passes the requests of a page (platform/panel).
// It has of the admin socket's paths what shows something, with GET alone, and below /do what the configuration lets a
// page do. It reads bodies.
//
//	curl --unix-socket /run/nmos-authd/view.sock -N 'http://localhost/events?last=10&denied=true'
//	curl --unix-socket /run/nmos-authd/view.sock 'http://localhost/explain?seq=4711'
//	curl --unix-socket /run/nmos-authd/view.sock http://localhost/actions
func View(d Daemon, v Viewing) http.Handler {
	s := &socket{
		daemon: d, routes: viewRoutes, viewing: v, guard: rand.Text(), following: make(chan struct{}, maxEvents),
	}
	shows := httpauth.Bodiless(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, in := s.login(w, r); in {
			s.ServeHTTP(w, r)
		}
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !sameOrigin(w, r) {
			return
		}
		a := actAt(r.URL.Path)
		if a == nil || !slices.Contains(v.Acts(), a.name) {
			shows.ServeHTTP(w, r)
		} else if who, in := s.login(w, r); in {
			s.act(w, r, a, who)
		}
	})
}

// login says who sends a request. It answers those whom Login refuses.
func (s *socket) login(w http.ResponseWriter, r *http.Request) (who string, in bool) {
	who, _, refused := s.viewing.Login(r)
	if refused != nil {
		httpauth.Answer(w, refused)
	}
	return who, refused == nil
}

// sameOrigin refuses what a page of another origin asks for, and says that no page may take an answer for its own.
// Browsers send Sec-Fetch-Site if the page came over TLS or from the machine itself; "none" is the user's own doing.
func sameOrigin(w http.ResponseWriter, r *http.Request) bool {
	header := w.Header()
	for _, h := range [...][2]string{
		{"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox"},
		{"Cross-Origin-Resource-Policy", "same-origin"},
		{"X-Content-Type-Options", "nosniff"},
		{"Cache-Control", "no-store"},
	} {
		header.Set(h[0], h[1])
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return true
	}
	httpauth.Fail(w, http.StatusForbidden, "only the device's own pages may ask", "cross-site")
	return false
}

// explain explains the decision whose number a request gives.
func (s *socket) explain(w http.ResponseWriter, r *http.Request) {
	if line := s.one(w, r); line != nil {
		text, err := s.viewing.Explain(line)
		report(w, plainText, text, err)
	}
}

// follow is watch as server-sent events, one for each record, for as long as the login lets.
func (s *socket) follow(w http.ResponseWriter, r *http.Request) {
	select {
	case s.following <- struct{}{}:
		defer func() { <-s.following }()
	default:
		tooMany(w, maxEvents)
		return
	}
	watcher := s.watcher(w, r)
	if watcher == nil {
		return
	}
	defer watcher.Close()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx
	out, stop := httpauth.Stream(w, r)
	defer stop()
	events := []byte("retry: 3000\n\n")
	for {
		if _, err := out.Write(events); err != nil {
			return
		}
		_, left, refused := s.viewing.Login(r) // what it follows from may have changed
		if refused != nil {
			return
		}
		if left == 0 || left > beat {
			left = beat
		}
		ctx, cancel := context.WithTimeout(r.Context(), left)
		lines, more := watcher.Next(ctx)
		silent := !more && ctx.Err() != nil
		cancel()
		events = events[:0]
		switch {
		case more:
			for line := range bytes.Lines(lines) {
				events = append(append(append(events, "data: "...), line...), '\n')
			}
		case silent && r.Context().Err() == nil:
			events = append(events, ":\n\n"...)
		default: // the caller has gone, or the daemon stops
			return
		}
	}
}
