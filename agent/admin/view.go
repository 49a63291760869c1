package admin

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"nmosauthd/agent/audit"
	"nmosauthd/agent/httpauth"
)

const (
	// maxEvents is how many may follow the decisions on the view socket at a time. Both sockets share the watchers of
	// the audit, and whoever has the browser must not keep the administrator from watching.
	maxEvents = audit.MaxWatchers / 2
	// beat is the longest silence of a stream of events: web servers give up on a longer one.
	beat = 15 * time.Second
)

// View returns the handler of the view socket, to which a web server passes the requests of a page (platform/panel).
// It has of the admin socket's paths what shows something and serves GET alone. explain explains a line of the audit.
//
//	curl --unix-socket /run/nmos-authd/view.sock -N 'http://localhost/events?last=10&denied=true'
//	curl --unix-socket /run/nmos-authd/view.sock 'http://localhost/explain?seq=4711'
func View(f Functions, explain func(line []byte) ([]byte, error)) http.Handler {
	m := &mux{Functions: f}
	following := make(chan struct{}, maxEvents)
	m.paths = map[string][]method{
		"/status":    {{http.MethodGet, document("application/json", f.Status)}},
		"/inventory": {{http.MethodGet, m.getInventory}},
		"/records":   {{http.MethodGet, m.getRecords}},
		"/observe":   {{http.MethodGet, document("application/json", f.Observed)}},
		"/events": {{http.MethodGet, func(w http.ResponseWriter, r *http.Request) {
			select {
			case following <- struct{}{}:
				defer func() { <-following }()
				m.events(w, r)
			default:
				tooMany(w, maxEvents)
			}
		}}},
		"/explain": {{http.MethodGet, func(w http.ResponseWriter, r *http.Request) {
			if line := m.one(w, r); line != nil {
				document("text/plain; charset=utf-8", func() ([]byte, error) { return explain(line) })(w, r)
			}
		}}},
	}
	return sameOrigin(m)
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

// events is watch as server-sent events, one for each record.
func (m *mux) events(w http.ResponseWriter, r *http.Request) {
	filter, last, ok := wanted(w, r)
	if !ok {
		return
	}
	watcher := m.Watch(last, filter.Match)
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
		ctx, cancel := context.WithTimeout(r.Context(), beat)
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
