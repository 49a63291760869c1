package webserver_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"nmosauthd/tinytest/rows"
	"nmosauthd/tinytest/spec"
	"nmosauthd/tinytest/ways"
)

// Every web server gives the daemon's answers, and lets nothing through whenever there is none, whatever becomes of the
// daemon: see ways.Run, which asks the same of every client.
func TestEveryDoor(t *testing.T) {
	spec.Rules(t, "ANS-1", "ANS-2", "ANS-3", "ANS-4", "ANS-5", "ANS-6", "ANS-9", "PATH-5", "PATH-9")
	for _, one := range fronts {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			w := ways.NewRig(t, program)
			r := &rig{t: t, auth: w.Server, dir: w.Dir, http: w.Dir.HTTP(), quick: true}
			r.standDevice()
			d := &door{r: r, f: one.start(t, r)}
			own := regexp.MustCompile("^(?:" + one.own + ")$")
			ways.Run(t, w, ways.Way{
				Ask:   d.ask,
				Least: 60,
				Own: func(row rows.Question, a ways.Answer) bool {
					return own.MatchString(row.Name) && a.Reason == "" && a.Status >= 400 && a.Status != 503
				},
				Threads: d.threads,
				Fails:   d.f.unasked,
				Unanswered: func(t *testing.T, why ways.Why) {
					if d.closed(t, "with the daemon "+string(why),
						d.asks(w.Server.Token(rows.PathsToken).Sign(), why)); why == ways.Stopped {
						checkSaid(t, d.f, one.says)
					}
				},
			})
			d.f.stop()
			checkLogs(t, d.f.logs())
		})
	}
}

// door is a web server that is asked rows.
type door struct {
	r *rig
	f *front
}

// asks are requests that are served if the daemon answers; a daemon that hangs costs patience for each.
func (d *door) asks(token string, why ways.Why) []request {
	all := []request{
		get("/x-nmos/connection/v1.1/single").bearing(token), get("/x-nmos/"),
		{method: "PATCH", target: receiver, body: "{}"},
		get("/x-nmos/connection/v1.1/single?access_token=" + token).upgrading(),
	}
	if why == ways.Hung {
		return nil // one was asked
	}
	return all
}

// closed checks that requests are answered as they should be while the daemon cannot be asked.
func (d *door) closed(t *testing.T, when string, asks []request) {
	t.Helper()
	for _, q := range asks {
		a := d.r.send(d.f.addr, q, t)
		if d.f.unasked != 0 {
			if a.status != d.f.unasked || a.body != "" {
				t.Errorf("%s: %s: got %s; want %d", when, q, a.shown(), d.f.unasked)
			}
			continue
		}
		if a.status != 503 || a.retry != "1" || a.media != "application/json" || a.challenge != "" ||
			!strings.Contains(a.expose, "Retry-After") || !d.f.saysUnasked(a.body) {
			t.Errorf("%s: %s: %s", when, q, a.shown())
		}
	}
	if got := d.r.take(); len(got) > 0 {
		t.Errorf("%s the device got %+v", when, got)
	}
}

func (d *door) ask(t *testing.T, row rows.Question) (ways.Answer, bool) {
	t.Helper()
	q, ok := requestOf(row.Packet)
	if !ok {
		return ways.Answer{}, false
	}
	d.r.take()
	a := answerOf(row, q, d.r.send(d.f.addr, q, t))
	switch passed := d.r.take(); {
	case len(passed) > 1:
		t.Errorf("%s: the device got %d requests", row.Name, len(passed))
	case len(passed) == 1 && passed[0].header.Get("X-Auth-Reason") != "": // else the device judges itself
		path := passed[0].header.Get("X-Auth-Path")
		return ways.Answer{Allowed: true, Status: 200, Reason: passed[0].header.Get("X-Auth-Reason"),
			Path: &path, More: a.More}, true
	}
	return a, true
}

var code = regexp.MustCompile(`"debug":"([a-z-]+)"}|\(([a-z-]+)\)"}|"errorMessage":"([a-z-]+)"}`)

// answerOf is a web server's answer as a client sees it.
func answerOf(row rows.Question, q request, r response) ways.Answer {
	a := ways.Answer{Status: r.status, Challenge: &r.challenge, More: r.shown()}
	a.Retry, _ = strconv.Atoi(r.retry)
	if reason := code.FindStringSubmatch(r.body); reason != nil {
		if a.Reason = reason[1] + reason[2] + reason[3]; a.Reason == "envoy" {
			a.Reason = "" // its own
		}
	} else if q.method == "HEAD" && strings.HasSuffix(row.First, fmt.Sprint(" ", r.status)) {
		a.Reason = row.Reason // the answer has no body to say it
	}
	if r.status == 401 && strings.HasPrefix(q.target, "/x-nmos/configuration") && row.First == "deny 403" {
		a.Status = 403 // NcMethodStatus has no 403
	}
	return a
}

// threads has clients ask. What the device got was allowed.
func (d *door) threads(t *testing.T, good, bad rows.Question, restart func()) {
	const times = 20
	d.r.take()
	ways.InThreads(func(t *testing.T, row rows.Question) (ways.Answer, bool) {
		q, ok := requestOf(row.Packet)
		a := answerOf(row, q, d.r.send(d.f.addr, q, t))
		if a.Reason == "" && a.Status != 503 { // of the device
			a.Allowed, a.Status, a.Reason, a.Challenge = true, 200, "ok", nil
		}
		return a, ok
	}, times)(t, good, bad, restart)
	passed := d.r.take()
	for _, q := range passed {
		if got := q.header.Get("X-Auth-Reason"); got != "ok" ||
			!strings.Contains(good.Packet, "\ntarget="+q.target+"\n") {
			t.Errorf("the device got %s, %q; want what is allowed alone", q.target, got)
		}
	}
	if len(passed) != 16*times/2 {
		t.Errorf("the device got %d requests; want %d", len(passed), 16*times/2)
	}
}

var (
	sayableMethod = regexp.MustCompile(`^[A-Za-z-]+$`)
	sayableTarget = regexp.MustCompile(`^/[!-"$-~]*$`)
	sayableHeader = regexp.MustCompile(`^[!-~]([ -~]*[!-~])?$`)
)

// requestOf is the request that a packet asks about; ok is false if it is about something else, or not to be said in
// HTTP.
func requestOf(packet string) (q request, ok bool) {
	lines, ok := strings.CutPrefix(packet, "decide 1\n")
	given := map[string]string{}
	for line := range strings.Lines(lines) {
		name, text, is := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		known := map[string]*regexp.Regexp{"method": sayableMethod, "target": sayableTarget,
			"authorization": sayableHeader, "upgrade": regexp.MustCompile(`^(?i)websocket$`)}[name]
		_, twice := given[name]
		if given[name] = text; !is || twice || known == nil || !known.MatchString(text) {
			return request{}, false
		}
	}
	q = get(given["target"])
	if q.method = given["method"]; given["upgrade"] != "" {
		if q.method != "GET" {
			return request{}, false // no handshake of a WebSocket
		}
		q = q.upgrading()
	}
	if given["authorization"] != "" {
		q = q.with("Authorization: " + given["authorization"])
	}
	if q.method == "PUT" || q.method == "PATCH" || q.method == "POST" {
		q.body = "{}"
	}
	return q, ok && q.method != "" && q.target != ""
}
