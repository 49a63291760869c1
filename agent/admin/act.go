package admin

import (
	"context"
	"crypto/subtle"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/httpauth"
)

// What a page can have done, if the configuration lets it ([sockets] view_actions).
const (
	ActObserve = "observe"
	ActRefresh = "refresh"
)

const (
	// mostOnPage is for how long a page can have everything observed: who has the browser is not the administrator.
	mostOnPage = time.Hour
	// actWindow and actsInWindow bound how often flash is written, and the servers are asked, for a page.
	actWindow    = time.Minute
	actsInWindow = 10

	maxAct  = 512 // bytes of a body
	maxUser = 64  // bytes of a user's name that are kept

	// guardHeader has the guard of GET /actions. No form can send it, and no page of another origin can read it.
	guardHeader = "X-Nmos-Authd-Guard"
)

// act is one thing that a page can have done. It takes JSON, {"for": "30m"} or {}, by POST alone.
type act struct {
	path string
	name string // by which it is allowed
	do   func(s *socket, w http.ResponseWriter, r *http.Request, span string)
}

// acts are what a page can have done.
var acts = []act{
	{"/do/observe", ActObserve, func(s *socket, w http.ResponseWriter, r *http.Request, span string) {
		s.observe(w, r, span, mostOnPage, "1s to 1h")
	}},
	{"/do/stop", ActObserve, func(s *socket, w http.ResponseWriter, r *http.Request, _ string) { s.stopObserve(w, r) }},
	{"/do/refresh", ActRefresh, func(s *socket, w http.ResponseWriter, r *http.Request, _ string) { s.refresh(w, r) }},
}

// actAt returns what is done at a path, nil if nothing.
func actAt(path string) *act {
	for i := range acts {
		if acts[i].path == path {
			return &acts[i]
		}
	}
	return nil
}

// getActions says what the page can have done, and the guard that it has to send along.
func (s *socket) getActions(w http.ResponseWriter, _ *http.Request) {
	names := ""
	if all := s.viewing.Acts(); len(all) > 0 {
		names = `"` + strings.Join(all, `","`) + `"`
	}
	send(w, jsonText, []byte(`{"actions":[`+names+`],"guard":"`+s.guard+`"}`))
}

// forged says what of a request a page of another origin could have caused: "" if nothing. Origin comes with each POST
// of a browser, Sec-Fetch-Site only over TLS or from the machine itself.
func (s *socket) forged(r *http.Request) string {
	site, origin := r.Header["Sec-Fetch-Site"], r.Header["Origin"]
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	host := ""
	if len(origin) == 1 {
		_, host, _ = strings.Cut(origin[0], "://")
	}
	switch {
	case len(site) > 0 && !slices.Equal(site, []string{"same-origin"}):
		return "Sec-Fetch-Site is not same-origin"
	case host == "" || !strings.EqualFold(host, r.Host):
		return "Origin is not that of Host"
	case strings.TrimSpace(kind) != "application/json":
		return "Content-Type is not application/json"
	case subtle.ConstantTimeCompare([]byte(r.Header.Get(guardHeader)), []byte(s.guard)) != 1:
		return guardHeader + " is not what GET /actions says"
	}
	return ""
}

// act has one thing done.
func (s *socket) act(w http.ResponseWriter, r *http.Request, a *act, who string) {
	if r.Method != http.MethodPost {
		notAllowed(w, http.MethodPost)
		return
	}
	if why := s.forged(r); why != "" {
		unread(w, http.StatusForbidden, "only the device's own pages may ask", why)
		return
	}
	var asked struct {
		For string `json:"for"`
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxAct+1))
	if err != nil || len(body) > maxAct || json.Unmarshal(body, &asked) != nil {
		unread(w, http.StatusBadRequest, "the body is not the JSON that this takes", `{"for": "30m"}, or {}`)
		return
	}
	if !s.turns.take(time.Now()) {
		busy(w, "60", "too much is asked for", strconv.Itoa(actsInWindow)+" a minute at most")
		return
	}
	if who == "" {
		who = remoteUser(r)
	}
	a.do(s, w, r.WithContext(context.WithValue(r.Context(), askerKey{}, who)), asked.For)
}

// unread fails a request whose body is not read to its end.
func unread(w http.ResponseWriter, status int, text, debug string) {
	w.Header().Set("Connection", "close")
	httpauth.Fail(w, status, text, debug)
}

// remoteUser is what the web server says of its user, whom nothing here verifies.
func remoteUser(r *http.Request) string {
	name := r.Header.Get("X-Remote-User")
	if name == "" { // lighttpd
		_, name, _ = strings.Cut(r.Header.Get("Forwarded"), `remote_user="`)
		name, _, _ = strings.Cut(name, `"`)
	}
	if name == "" {
		return "a user whom the web server does not name"
	}
	return "the web server's user " + strconv.QuoteToASCII(name[:min(len(name), maxUser)]) + " (unverified)"
}

type askerKey struct{}

// AskedBy says for whom a web server asks, by the context of a function's call; "" on the admin socket.
func AskedBy(ctx context.Context) string {
	who, _ := ctx.Value(askerKey{}).(string)
	return who
}

// turns counts what was done in a while.
type turns struct {
	mu    sync.Mutex
	since time.Time
	done  int
}

// take reports whether there is a turn left, and takes it.
func (t *turns) take(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.since) >= actWindow {
		t.since, t.done = now, 0
	}
	t.done++
	return t.done <= actsInWindow
}
