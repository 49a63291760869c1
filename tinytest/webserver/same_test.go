package webserver_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// difference is what a web server answers in another way than the device, and why that is so.
type difference struct {
	rows   string // regular expression for the names of the rows
	status string // what the web server answers there, the same kind of expression
	why    string
}

// ledger is a table of differences, and how often each was met.
type ledger struct {
	rows []difference
	met  []int
}

func (l *ledger) find(name string) *difference {
	for i := range l.rows {
		if regexp.MustCompile("^(?:" + l.rows[i].rows + ")$").MatchString(name) {
			l.met[i]++
			return &l.rows[i]
		}
	}
	return nil
}

// compare sends each row to the device that asks and to the web server, and compares the answers, and what came in
// behind the web server. Every row of the table of differences must be met.
func compare(t *testing.T, r *rig, f *front, rows []row, differences []difference) {
	t.Helper()
	known := &ledger{differences, make([]int, len(differences))}
	counted := map[int]int{}
	for _, one := range rows {
		want := r.send(r.direct, one.request, t)
		r.take()
		got := r.send(f.addr, one.request, t)
		passed := r.take()
		d := known.find(one.name)
		f.forgive(&want, &got)
		same := want.shown() == got.shown()
		switch {
		case d != nil && same && (got.status != 200 || len(passed) > 0): // else it is the web server's own 200
			t.Errorf("%s: %s\nis no difference any more: both answer %s", one.name, one.request, got.shown())
		case d != nil && !regexp.MustCompile("^(?:"+d.status+")$").MatchString(fmt.Sprint(got.status)):
			t.Errorf("%s: %s\n%s answers %s\nwant %s: %s", one.name, one.request, f.name, got.shown(), d.status, d.why)
		case d == nil && !same:
			t.Errorf("%s: %s\n%s answers %s\nthe device %s", one.name, one.request, f.name, got.shown(), want.shown())
		}
		if fault := r.checkPassed(f, one.request, want, got, passed, d != nil); fault != "" {
			t.Errorf("%s: %s\n%s answers %s\n%s", one.name, one.request, f.name, got.shown(), fault)
		}
		counted[got.status]++
	}
	for i, d := range known.rows {
		if known.met[i] == 0 {
			t.Errorf("no row meets the difference %s", d.rows)
		}
	}
	t.Logf("%d requests by status: %v", len(rows), counted)
}

// forgive takes away what need not be the same of the device's answer and of the web server's.
func (f *front) forgive(want, got *response) {
	if f.asksItself { // http.sock ends its bodies with a line
		want.body, got.body = strings.TrimSuffix(want.body, "\n"), strings.TrimSuffix(got.body, "\n")
	}
	if f.exposesAll {
		want.cors, want.expose, got.cors, got.expose = "", "", "", ""
	}
}

// checkPassed looks at what came in behind the web server for a request, by what the daemon says of it, and at the
// answer's body. want is the device's own answer, different that the table lets the web server's be another.
func (r *rig) checkPassed(f *front, q request, want, got response, passed []received, different bool) string {
	told, path := r.judge(q)
	if raw, _, _ := strings.Cut(originForm(q.target), "?"); f.asksItself && raw == events && q.handshake() {
		// It asks about the sources, as the device does, and not about this path.
		if denied := want.media == "application/json" && want.challenge != ""; !different &&
			denied == (len(passed) > 0) {
			return fmt.Sprintf("the device got %+v; it would answer %d itself", passed, want.status)
		}
		return ""
	}
	if len(passed) == 0 {
		switch {
		case different, want.status == http.StatusBadRequest && want.media != "application/json":
			return "" // the table says why, or the device's HTTP server did not let the device ask either
		case told.status == http.StatusOK:
			return "the device got nothing"
		case q.method != "HEAD" && (strings.TrimSuffix(got.body, "\n") != strings.TrimSuffix(told.body, "\n") ||
			got.challenge != told.challenge || got.retry != told.retry):
			return "the daemon's HTTP socket says " + told.shown()
		}
		return ""
	}
	in := passed[0]
	for name, values := range in.header {
		if strings.HasPrefix(name, "X-Auth-") && slices.Contains(values, "forged") {
			return "the device got from the client " + name
		}
	}
	unasked := in.header.Get("X-Auth-Reason") == ""
	switch {
	case len(passed) > 1:
		return fmt.Sprintf("the device got %d requests", len(passed))
	case unasked && f.passesEvents && (path == events || strings.HasPrefix(originForm(q.target), events)):
		if in.target != originForm(q.target) {
			return "the device, which is to judge itself, got another target: " + in.target
		}
		return ""
	case unasked, told.status != http.StatusOK && !different:
		return fmt.Sprintf("the device got what was not allowed: %+v", in)
	case in.method != q.method || in.body != q.body:
		return fmt.Sprintf("the device got %s %s %q", in.method, in.target, in.body)
	}

	// The target: the path that was judged, or another spelling of it, and the query as it came but for a fragment,
	// which is not part of a request (RFC 9112 §3.2).
	_, query, _ := strings.Cut(originForm(q.target), "?")
	query, _, _ = strings.Cut(query, "#")
	inPath, inQuery, _ := strings.Cut(in.target, "?")
	inQuery, _, _ = strings.Cut(inQuery, "#")
	if f.keepsSpelling {
		_, path = r.judge(request{method: q.method, target: in.target})
	} else if path == "" {
		path, _, _ = strings.Cut(originForm(q.target), "?")
	}
	switch {
	case inPath != path && !f.keepsSpelling, inQuery != query && !different:
		return fmt.Sprintf("the device got %s, want %s?%s", in.target, path, query)
	case in.header.Get("X-Auth-Path") != path && told.header.Get("X-Auth-Path") != "",
		len(in.header["X-Auth-Path"]) > 1:
		return fmt.Sprintf("X-Auth-Path %q, want %q", in.header["X-Auth-Path"], path)
	}
	for _, name := range []string{"X-Auth-Reason", "X-Auth-Client-Id", "X-Auth-Subject"} {
		if strings.Join(in.header[name], "|") != told.header.Get(name) && !different {
			return fmt.Sprintf("%s %q, want %q", name, in.header[name], told.header.Get(name))
		}
	}
	return ""
}

// judge asks the daemon's HTTP socket about a request, and returns its answer and the path that it judged.
func (r *rig) judge(q request) (response, string) {
	r.t.Helper()
	ask, err := http.NewRequest(http.MethodGet, "http://daemon/authorize", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	ask.Header.Set("X-Original-Method", q.method)
	ask.Header.Set("X-Original-URI", originForm(q.target))
	for _, line := range q.headers {
		name, value, _ := strings.Cut(strings.ReplaceAll(line, "\r\n", ""), ":")
		switch strings.ToLower(name) {
		case "authorization":
			ask.Header.Add(name, strings.Trim(value, " \t\r"))
		case "upgrade":
			if q.handshake() {
				ask.Header.Set("X-Original-Upgrade", "websocket")
			}
		}
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", r.dir.HTTP())
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	answer, err := client.Do(ask)
	if err != nil { // it holds what Go does not send
		return response{}, ""
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return response{
		status: answer.StatusCode, challenge: answer.Header.Get("WWW-Authenticate"),
		retry: answer.Header.Get("Retry-After"), body: string(body), header: answer.Header,
	}, answer.Header.Get("X-Auth-Path")
}

// handshake reports whether the request is the handshake of a WebSocket (RFC 6455 §4.2.1).
func (q request) handshake() bool {
	has := func(name, word string) bool {
		for _, line := range q.headers {
			if key, value, _ := strings.Cut(line, ":"); strings.EqualFold(key, name) {
				for item := range strings.SplitSeq(value, ",") {
					if strings.EqualFold(strings.TrimSpace(item), word) {
						return true
					}
				}
			}
		}
		return false
	}
	return q.method == "GET" && has("Connection", "upgrade") && has("Upgrade", "websocket")
}

// originForm cuts scheme and authority from a target in absolute form (RFC 9112 §3.2.2).
func originForm(target string) string {
	_, rest, absolute := strings.Cut(target, "://")
	if !absolute || strings.HasPrefix(target, "/") {
		return target
	}
	switch i := strings.IndexAny(rest, "/?#"); {
	case i < 0:
		return "/"
	case rest[i] == '/':
		return rest[i:]
	default:
		return "/" + rest[i:]
	}
}
