package panel_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

const everything = `view_actions = ["observe", "refresh"]`

// guarded returns the headers of a request that the page itself makes.
func (r *rig) guarded() http.Header {
	r.t.Helper()
	var a struct{ Guard string }
	status, body := r.send(r.View(), "GET", "/actions", "", nil)
	if err := json.Unmarshal([]byte(body), &a); status != 200 || err != nil || len(a.Guard) < 20 {
		r.t.Fatalf("GET /actions: got %d %s (%v), want 200 with a guard", status, body, err)
	}
	return http.Header{
		"Origin": {"http://daemon"}, "Sec-Fetch-Site": {"same-origin"}, "Content-Type": {"application/json"},
		"X-Nmos-Authd-Guard": {a.Guard},
	}
}

// observed reports whether the daemon observes.
func (r *rig) observed() bool {
	r.t.Helper()
	_, body := r.send(r.View(), "GET", "/status", "", nil)
	return strings.Contains(body, `"mode":"observe"`)
}

// What no key allows is not there, whatever is sent along.
func TestActionsAreOff(t *testing.T) {
	for sockets, open := range map[string]string{"": "", `view_actions = ["observe"]`: "/do/observe /do/stop",
		`view_actions = ["refresh"]`: "/do/refresh"} {
		r := newRig(t, sockets)
		for _, path := range []string{"/do/observe", "/do/stop", "/do/refresh", "/do/", "/do"} {
			there := strings.Contains(" "+open+" ", " "+path+" ")
			status, body := r.send(r.View(), "POST", path, `{"for":"1s"}`,
				http.Header{"Content-Type": {"application/json"}})
			if want := map[bool]int{true: 403, false: 404}[there]; status != want {
				t.Errorf("%q: POST %s: got %d %s, want %d", sockets, path, status, body, want)
			}
			header := r.guarded()
			if status, body = r.send(r.View(), "POST", path, `{"for":"1s"}`, header); there == (status == 404) {
				t.Errorf("%q: POST %s by the page: got %d %s", sockets, path, status, body)
			}
		}
	}
}

// What a page of another origin can have a browser send changes nothing: forms, no headers, a foreign Origin, an old
// guard, GET. Each request lacks one thing of what the page sends.
func TestActionsAreNotForged(t *testing.T) {
	r := newRig(t, everything)
	for name, change := range map[string]func(h http.Header){
		"nothing":          func(h http.Header) { clear(h) },
		"no Origin":        func(h http.Header) { h.Del("Origin") },
		"two Origins":      func(h http.Header) { h.Add("Origin", "http://daemon") },
		"foreign Origin":   func(h http.Header) { h.Set("Origin", "http://daemon.example.com") },
		"other port":       func(h http.Header) { h.Set("Origin", "http://daemon:8088") },
		"a name behind it": func(h http.Header) { h.Set("Origin", "http://x/http://daemon") },
		"opaque Origin":    func(h http.Header) { h.Set("Origin", "null") },
		"empty Origin":     func(h http.Header) { h.Set("Origin", "") },
		"cross-site":       func(h http.Header) { h.Set("Sec-Fetch-Site", "cross-site") },
		"same-site":        func(h http.Header) { h.Set("Sec-Fetch-Site", "same-site") },
		"none":             func(h http.Header) { h.Set("Sec-Fetch-Site", "none") },
		"empty":            func(h http.Header) { h.Set("Sec-Fetch-Site", "") },
		"two":              func(h http.Header) { h.Add("Sec-Fetch-Site", "cross-site") },
		"form":             func(h http.Header) { h.Set("Content-Type", "application/x-www-form-urlencoded") },
		"multipart": func(h http.Header) {
			h.Set("Content-Type", "multipart/form-data; boundary=application/json")
		}, "text": func(h http.Header) { h.Set("Content-Type", "text/plain") },
		"no type":           func(h http.Header) { h.Del("Content-Type") },
		"no guard":          func(h http.Header) { h.Del("X-Nmos-Authd-Guard") },
		"guard of another":  func(h http.Header) { h.Set("X-Nmos-Authd-Guard", strings.Repeat("A", 26)) },
		"half of the guard": func(h http.Header) { h.Set("X-Nmos-Authd-Guard", h.Get("X-Nmos-Authd-Guard")[:13]) },
	} {
		header := r.guarded()
		change(header)
		for _, path := range []string{"/do/observe", "/do/refresh", "/do/stop"} {
			if status, body := r.send(r.View(), "POST", path, `{"for":"1m"}`, maps.Clone(header)); status != 403 {
				t.Errorf("%s: POST %s: got %d %s, want 403", name, path, status, body)
			}
		}
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		if status, body := r.send(r.View(), method, "/do/observe?for=1m", "", r.guarded()); status != 405 {
			t.Errorf("%s: got %d %s, want 405", method, status, body)
		}
	}
	for _, body := range []string{"", "for=1m", `{"for":7}`, `[]`, `{"for":"1m"`, `{"for":"1m"}{}`,
		`{"for":"` + strings.Repeat("1", 600) + `m"}`} {
		if status, text := r.send(r.View(), "POST", "/do/observe", body, r.guarded()); status != 400 {
			t.Errorf("%q: got %d %s, want 400", body, status, text)
		}
	}
	if r.observed() {
		t.Error("the mode is observe, want enforce")
	}
	if _, lines := r.send(r.View(), "GET", "/records?last=50", "", nil); strings.Contains(lines,
		`"question":"observe"`) || strings.Contains(lines, `"question":"refresh"`) {
		t.Errorf("something was done:\n%s", lines)
	}
}

// What the page asks for is done within its bounds, and recorded with whom the web server named, as unverified.
func TestActionsAreBoundedAndRecorded(t *testing.T) {
	spec.Rules(t, "OPS-2", "OPS-3")
	r := newRig(t, everything)
	for span, text := range map[string]string{"0s": "it must be 1s to 1h", "61m": "it must be 1s to 1h",
		"-1m": "it must be 1s to 1h", "": "for how long?", "soon": "for how long?"} {
		if status, body := r.send(r.View(), "POST", "/do/observe", fmt.Sprintf(`{"for":%q}`, span),
			r.guarded()); status != 400 || !strings.Contains(body, text) {
			t.Errorf("for %q: got %d %s, want 400 %s", span, status, body, text)
		}
	}
	header := r.guarded()
	header.Del("Sec-Fetch-Site") // without TLS
	header.Set("Origin", "https://DAEMON")
	header.Set("X-Remote-User", "anna\u202e\"<b>"+strings.Repeat("x", 100))
	if status, body := r.send(r.View(), "POST", "/do/observe", `{"for":"30m"}`, header); status != 200 ||
		!strings.Contains(body, `"until"`) {
		t.Fatalf("observe: got %d %s, want 200", status, body)
	}
	if !r.observed() {
		t.Error("the mode is enforce, want observe")
	}
	_, body := r.send(r.Admin(), "GET", "/status", "", nil)
	if want := `for the web server's user \"anna\\u202e\\\"\u003cb\u003exxx`; !strings.Contains(body, want) &&
		!strings.Contains(body, strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(want)) {
		t.Errorf("the status has no %s:\n%s", want, body)
	}
	if status, body := r.send(r.View(), "POST", "/do/stop", `{}`, r.guarded()); status != 204 {
		t.Errorf("stop: got %d %s, want 204", status, body)
	}
	if status, body := r.send(r.View(), "POST", "/do/stop", `{}`, r.guarded()); status != 404 {
		t.Errorf("stop again: got %d %s, want 404", status, body)
	}
	if status, body := r.send(r.View(), "POST", "/do/refresh", `{}`, r.guarded()); status != 200 ||
		!strings.Contains(body, `"keys":["key-1"]`) {
		t.Errorf("refresh: got %d %s, want 200 with the key", status, body)
	}
	var lines string
	r.until("the records", func() bool {
		_, lines = r.send(r.View(), "GET", "/records?last=50", "", nil)
		return strings.Contains(lines, `"question":"refresh"`)
	})
	for _, want := range []string{
		`"method":"start","name":"30m0s, as asked on the page by the web server's user \"anna`,
		`"method":"end","name":"as asked on the page by a user whom the web server does not name`,
		`"method":"refresh","name":"as asked on the page by a user whom the web server does not name`,
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("the records have no %s:\n%s", want, lines)
		}
	}
	// Ten a minute at most: the flash is not the browser's to wear out.
	status := 0
	for range 11 {
		status, _ = r.send(r.View(), "POST", "/do/stop", `{}`, r.guarded())
	}
	if status != 503 {
		t.Errorf("the last of many: got %d, want 503", status)
	}
}

// With a claim configured nobody uses the view socket without a good token that has it, in any mode, and what follows
// the decisions ends with the token.
func TestViewClaim(t *testing.T) {
	spec.Rules(t, "CLM-6", "CLM-7", "ANS-6")
	r := newRig(t, everything+"\nview_claim = \"x-nmos-status\"")
	token := func(o mint.Options) http.Header {
		return http.Header{"Authorization": {"Bearer " + r.server.Token(o).Sign()}}
	}
	grant := func(read, write []string) map[string]mint.Permission {
		return map[string]mint.Permission{"status": {Read: read, Write: write}}
	}
	all := []string{"*"}
	good := token(mint.Options{Client: "desk", Permissions: grant(all, nil)})
	both := token(mint.Options{Client: "desk", Permissions: grant(all, []string{"do/refresh"})})
	other := *mint.CachedKey("other", 2048)
	other.KID = "key-1"
	forged := mint.New(mint.Options{Key: &other, Issuer: r.server.Issuer(), Permissions: grant(all, all)}).Sign()
	for _, c := range []struct {
		name, method, path string
		header             http.Header
		want               int
	}{
		{"none", "GET", "/status", nil, 401},
		{"none, a stream", "GET", "/events", nil, 401},
		{"none, unknown path", "GET", "/x", nil, 401},
		{"none, an action", "POST", "/do/refresh", nil, 401},
		{"a password", "GET", "/status", http.Header{"Authorization": {"Basic b3A6cHc="}}, 401},
		{"two", "GET", "/status",
			http.Header{"Authorization": {good.Get("Authorization"), good.Get("Authorization")}}, 400},
		{"in the query", "GET", "/status?access_token=" + good.Get("Authorization")[7:], nil, 401},
		{"bad", "GET", "/status", http.Header{
			"Authorization": {good.Get("Authorization")[:200] + "AAAA" + good.Get("Authorization")[204:]}}, 401},
		{"another's signature", "GET", "/status", http.Header{"Authorization": {"Bearer " + forged}}, 401},
		{"expired", "GET", "/status",
			token(mint.Options{Now: time.Now().Add(-2 * time.Hour), Permissions: grant(all, all)}), 401},
		{"for another device", "GET", "/status",
			token(mint.Options{Device: "node-9.example.com", Permissions: grant(all, all)}), 403},
		{"without the claim", "GET", "/status",
			token(mint.Options{Permissions: map[string]mint.Permission{"connection": {Read: all, Write: all}}}), 403},
		{"in the scope alone", "GET", "/status",
			token(mint.Options{Scope: "status", Permissions: map[string]mint.Permission{"connection": {Read: all}}}),
			403},
		{"another path", "GET", "/records?last=1",
			token(mint.Options{Permissions: grant([]string{"status"}, nil)}), 403},
		{"this path", "GET", "/status", token(mint.Options{Permissions: grant([]string{"status"}, nil)}), 200},
		{"good", "GET", "/status", good, 200},
		{"good", "GET", "/explain?seq=999999", good, 404},
		{"good to read alone", "POST", "/do/refresh", good, 403},
		{"good, not as the page asks", "POST", "/do/refresh", both, 403},
	} {
		status, body := r.send(r.View(), c.method, c.path, "", maps.Clone(c.header))
		if status != c.want {
			t.Errorf("%s: %s %s: got %d %s, want %d", c.name, c.method, c.path, status, body, c.want)
		}
	}
	request, _ := http.NewRequest("GET", "http://daemon/status", nil)
	response, err := over(r.View()).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if got := response.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer realm=") {
		t.Errorf("WWW-Authenticate is %q, want a challenge", got)
	}

	// Observe mode lets everybody at the device, and nobody at the page.
	if status, body := r.send(r.Admin(), "POST", "/observe/mode?for=1m", "", nil); status != 200 {
		t.Fatalf("observe: %d %s", status, body)
	}
	if status, body := r.send(r.View(), "GET", "/status", "", nil); status != 401 {
		t.Errorf("in observe mode, without a token: got %d %s, want 401", status, body)
	}

	short := token(mint.Options{Life: 5 * time.Second, Permissions: grant(all, nil)})
	request, _ = http.NewRequest("GET", "http://daemon/events", nil)
	request.Header = short
	if response, err = over(r.View()).Do(request); err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		t.Fatalf("events: got %s, want 200", response.Status)
	}
	io.Copy(io.Discard, response.Body) // until the token ends, or this test would not
}

// The person at the desk has everything observed for some time, ends that, and has the keys fetched, each in two steps
// and by keyboard.
func TestPageActs(t *testing.T) {
	r := newRig(t, everything)
	p := open(t, r.serve(t, recipes[0]))
	p.until(`!document.querySelector("#act-observe").hidden && !document.querySelector("#act-refresh").hidden`)
	p.until(`document.querySelector("#light.healthy")`)
	press := func(button string) {
		t.Helper()
		p.eval(`document.querySelector("`+button+`").focus()`, nil)
		p.until(`document.activeElement.matches("` + button + `")`)
		p.do(chromedp.KeyEvent(kb.Enter))
	}
	press("#observe-start")
	p.until(`document.querySelector("#confirm").open && document.activeElement.id === "confirm-no"`)
	p.axe("the confirmation")
	p.shot("confirm")
	p.do(chromedp.KeyEvent(kb.Escape))
	p.until(`!document.querySelector("#confirm").open && document.activeElement.id === "observe-start"`)
	press("#observe-start")
	p.until(`document.querySelector("#confirm").open`)
	press("#confirm-no")
	p.until(`!document.querySelector("#confirm").open`)
	if r.observed() {
		t.Fatal("the mode is observe without a confirmation")
	}

	p.do(chromedp.SetValue("#span", "15m", chromedp.ByID))
	press("#observe-start")
	p.until(`document.querySelector("#confirm-yes").textContent === "Deny nothing for 15 minutes"`)
	p.do(chromedp.KeyEvent(kb.Tab))
	p.until(`document.activeElement.id === "confirm-yes"`)
	p.do(chromedp.KeyEvent(kb.Enter))
	p.until(`document.querySelector("#done")` + text + `("Nothing is denied until ")`)
	p.until(`document.querySelector("#facts")` + text + `("observe, ends in 14 minutes") || document.querySelector("#facts")` + text + `("observe, ends in 15 minutes")`)
	p.until(`document.querySelector("#facts")` + text + `("for the web server’s user") || document.querySelector("#facts")` + text + `("operator")`)
	p.until(`!document.querySelector("#observe-stop").hidden`)
	p.eval(`document.querySelector("#act").scrollIntoView()`, nil)
	p.shot("observing")
	p.axe("observing")
	r.ask("desk-1", "PATCH", receiver, 200)

	press("#observe-stop")
	p.until(`document.querySelector("#confirm").open`)
	press("#confirm-yes")
	p.until(`document.querySelector("#done").textContent === "The mode is enforce again."`)
	r.ask("desk-2", "PATCH", receiver, 403)

	press("#refresh")
	p.until(`document.querySelector("#confirm").open`)
	press("#confirm-yes")
	p.until(`document.querySelector("#done")` + text + `(": 1 key, 0 new, 0 gone, 0 remembered tokens refused.")`)
	p.do(chromedp.EmulateViewport(360, 740))
	p.until("innerWidth === 360")
	var wide int
	if p.eval("document.documentElement.scrollWidth", &wide); wide > 360 {
		t.Errorf("at 360 px the page is %d px wide", wide)
	}
	p.axe("actions, 360 px")

	_, lines := r.send(r.View(), "GET", "/records?last=50", "", nil)
	want := `"name":"15m0s, as asked on the page by the web server's user \"operator\" (unverified)"`
	if !strings.Contains(lines, want) {
		t.Errorf("the records have no %s:\n%s", want, lines)
	}
	p.quiet()
}

// Through each recipe only POST below view/do/ does anything, as the page sends it, and the user's name comes along.
func TestRecipesPassActions(t *testing.T) {
	for _, w := range recipes {
		t.Run(w.server, func(t *testing.T) {
			r := newRig(t, everything)
			address := r.serve(t, w)
			send := func(method, path string, change func(*http.Request)) int {
				t.Helper()
				request, err := http.NewRequest(method, address+path, strings.NewReader("{}"))
				if err != nil {
					t.Fatal(err)
				}
				request.SetBasicAuth("operator", "at the desk")
				request.Header = r.guarded()
				request.SetBasicAuth("operator", "at the desk")
				request.Header.Set("Origin", strings.TrimSuffix(address, "/nmos-authd/"))
				request.Header.Set("X-Remote-User", "somebody else")
				request.Header.Set("Forwarded", `remote_user="somebody else"`)
				if change != nil {
					change(request)
				}
				response, err := new(http.Transport).RoundTrip(request)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				return response.StatusCode
			}
			for name, change := range map[string]func(*http.Request){
				"no login":       func(q *http.Request) { q.Header.Del("Authorization") },
				"no guard":       func(q *http.Request) { q.Header.Del("X-Nmos-Authd-Guard") },
				"foreign Origin": func(q *http.Request) { q.Header.Set("Origin", "http://example.com") },
				"cross-site":     func(q *http.Request) { q.Header.Set("Sec-Fetch-Site", "cross-site") },
				"a form":         func(q *http.Request) { q.Header.Set("Content-Type", "text/plain") },
			} {
				if status := send("POST", "view/do/refresh", change); status != 403 && status != 401 {
					t.Errorf("%s: got %d, want 403 or 401", name, status)
				}
			}
			for _, method := range []string{"GET", "PUT", "DELETE"} {
				if status := send(method, "view/do/refresh", nil); status < 400 {
					t.Errorf("%s: got %d, want a refusal", method, status)
				}
			}
			for _, path := range []string{"view/status", "view/observe", "view/do/../status", ""} {
				if status := send("POST", path, nil); status < 400 {
					t.Errorf("POST %s: got %d, want a refusal", path, status)
				}
			}
			if status := send("POST", "view/do/refresh", nil); status != 200 {
				t.Errorf("as the page: got %d, want 200", status)
			}
			var lines string
			r.until("the record", func() bool {
				_, lines = r.send(r.View(), "GET", "/records?last=50", "", nil)
				return strings.Contains(lines, `"question":"refresh"`)
			})
			if want := `the web server's user \"operator\" (unverified)`; strings.Count(lines,
				`"question":"refresh"`) != 1 || !strings.Contains(lines, want) {
				t.Errorf("got %s, want one refresh by %s", lines, want)
			}
		})
	}
}
