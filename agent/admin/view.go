package admin

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
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

// Viewing is what the view socket needs beyond the functions of the admin socket.
type Viewing struct {
	// Explain explains a line of the audit.
	Explain func(line []byte) ([]byte, error)
	// Acts returns what a page may have done now, of ActObserve and ActRefresh; nothing unless the configuration says
	// so.
	Acts func() []string
	// Login says who sends a request, by a token of his that the configuration asks for, and for how long that lets him
	// (0: no end is known). who is "" if none is asked for. The request is refused unless refused is nil.
	Login func(r *http.Request) (who string, left time.Duration, refused *wire.Reply)
}

// page is the view socket.
type page struct {
	mux
	Viewing
	guard     string // of what changes something; other at each start
	following chan struct{}
	turns     turns
}

// View returns the handler of the view socket, to which a web server passes the requests of a page (platform/panel).
// It has of the admin socket's paths what shows something, with GET alone, and below /do what the configuration lets a
// page do. It reads bodies.
//
//	curl --unix-socket /run/nmos-authd/view.sock -N 'http://localhost/events?last=10&denied=true'
//	curl --unix-socket /run/nmos-authd/view.sock 'http://localhost/explain?seq=4711'
//	curl --unix-socket /run/nmos-authd/view.sock http://localhost/actions
func View(f Functions, v Viewing) http.Handler {
	p := &page{mux: mux{Functions: f}, Viewing: v, guard: rand.Text(), following: make(chan struct{}, maxEvents)}
	p.paths = map[string][]method{
		"/status":    {{http.MethodGet, document("application/json", f.Status)}},
		"/inventory": {{http.MethodGet, p.getInventory}},
		"/records":   {{http.MethodGet, p.getRecords}},
		"/observe":   {{http.MethodGet, document("application/json", f.Observed)}},
		"/actions":   {{http.MethodGet, p.actions}},
		"/events":    {{http.MethodGet, p.follow}},
		"/explain": {{http.MethodGet, func(w http.ResponseWriter, r *http.Request) {
			if line := p.one(w, r); line != nil {
				document("text/plain; charset=utf-8", func() ([]byte, error) { return v.Explain(line) })(w, r)
			}
		}}},
	}
	acts := p.acts()
	shows := httpauth.Bodiless(p.login(func(w http.ResponseWriter, r *http.Request, _ string) { p.ServeHTTP(w, r) }))
	return sameOrigin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, is := acts[r.URL.Path]
		if !is || !slices.Contains(v.Acts(), a.name) {
			shows.ServeHTTP(w, r)
			return
		}
		p.login(func(w http.ResponseWriter, r *http.Request, who string) { p.act(w, r, a, who) })(w, r)
	}))
}

// login lets those in whom Login does.
func (p *page) login(in func(w http.ResponseWriter, r *http.Request, who string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if who, _, refused := p.Login(r); refused != nil {
			httpauth.Answer(w, refused)
		} else {
			in(w, r, who)
		}
	}
}

// sameOrigin refuses what a page of another origin asks for, and says that no page may take an answer for its own.
// Browsers send Sec-Fetch-Site where the page came over TLS or from the machine itself; "none" is the user's own doing.
func sameOrigin(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("X-Content-Type-Options", "nosniff")
		switch r.Header.Get("Sec-Fetch-Site") {
		case "", "none", "same-origin":
			h.ServeHTTP(w, r)
		default:
			header.Set("Cache-Control", "no-store")
			httpauth.Fail(w, http.StatusForbidden, "only the device's own pages may ask", "cross-site")
		}
	})
}

// follow is watch as server-sent events, one for each record, for as long as the login lets.
func (p *page) follow(w http.ResponseWriter, r *http.Request) {
	select {
	case p.following <- struct{}{}:
		defer func() { <-p.following }()
	default:
		tooMany(w, maxEvents)
		return
	}
	filter, last, ok := wanted(w, r)
	if !ok {
		return
	}
	watcher := p.Watch(last, filter.Match)
	if watcher == nil {
		tooMany(w, audit.MaxWatchers)
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
		_, left, refused := p.Login(r) // what it follows from may have changed
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

func tooMany(w http.ResponseWriter, most int) {
	w.Header().Set("Retry-After", "1")
	httpauth.Fail(w, http.StatusServiceUnavailable, "too many are watching", fmt.Sprint(most, " at most"))
}
