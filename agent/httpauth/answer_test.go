package httpauth_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"nmosauthd/agent/httpauth"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

// Every reason as HTTP (HTTP.md): for a denial the body is an NMOS error, as the schema of IS-04 has it.
func TestAnswer(t *testing.T) {
	spec.Rules(t, "ANS-5", "ANS-6", "ANS-7", "ANS-8")
	for i := range wire.Reasons {
		reason := wire.Reason(i)
		info := reason.Info()
		w := httptest.NewRecorder()
		httpauth.Answer(w, &wire.Reply{
			Reason: reason, ClientID: []byte("client"), Subject: []byte("Jörg"), Path: []byte("/x-nmos/%C3%A9"),
			ExpiresIn: 284, RetryAfter: 7, Realm: "node-1",
		})
		got := w.Result()
		body, err := io.ReadAll(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"Cache-Control": "no-store", "X-Auth-Reason": info.Code, "X-Auth-Client-Id": "client",
			"X-Auth-Subject": "Jörg", "X-Auth-Path": "/x-nmos/%C3%A9",
		}
		switch info.Status {
		case 200:
			want["X-Auth-Expires-In"] = "284"
		case 405:
			want["Allow"] = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
		case 503:
			want["Retry-After"] = "7"
		}
		if info.Status == 401 || info.Error != "" {
			want["Www-Authenticate"] = string(wire.AppendChallenge(nil, "node-1", reason))
		}
		if info.Status != 200 {
			want["Content-Type"], want["X-Auth-Error"] = "application/json", info.Text
		}
		if reason == wire.PacketMissing { // it names the headers
			want["X-Auth-Error"] = "X-Original-Method and X-Original-URI are needed, or " +
				"X-Forwarded-Method and X-Forwarded-Uri"
		}
		for name, values := range got.Header {
			if want[name] != strings.Join(values, "|") {
				t.Errorf("%s: %s is %q, want %q", reason, name, values, want[name])
			}
			delete(want, name)
		}
		if len(want) > 0 || got.StatusCode != info.Status {
			t.Errorf("%s: status %d, without %v", reason, got.StatusCode, want)
		}
		if info.Status == 200 {
			if len(body) > 0 {
				t.Errorf("%s: the body %q", reason, body)
			}
			continue
		}
		checkNMOSError(t, info.Status, body)
	}
}

// checkNMOSError checks a body by IS-04's error schema: these members, code a number from 400 to 599, error a string,
// debug a string or null.
func checkNMOSError(t *testing.T, status int, body []byte) {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal(body, &members); err != nil {
		t.Errorf("%d: %v in %q", status, err, body)
		return
	}
	code, isNumber := members["code"].(float64)
	text, isText := members["error"].(string)
	debug, has := members["debug"]
	if _, isString := debug.(string); !has || !isString && debug != nil {
		t.Errorf("%d: debug is %v", status, debug)
	}
	if !isNumber || int(code) != status || code < 400 || code > 599 || !isText || text == "" || len(members) != 3 {
		t.Errorf("%d: %s", status, body)
	}
}

// What a reply does not have, the answer does not have.
func TestAnswerOfNothing(t *testing.T) {
	spec.Rules(t, "ANS-8")
	w := httptest.NewRecorder()
	httpauth.Answer(w, &wire.Reply{Reason: wire.OK, ExpiresIn: -1, Enforced: wire.Expired})
	if got := w.Result(); len(got.Header) != 3 || got.Header.Get("X-Auth-Would") != "401 token-expired" {
		t.Errorf("got %v", got.Header)
	}
	w = httptest.NewRecorder()
	httpauth.Answer(w, &wire.Reply{})
	if got := w.Result(); got.StatusCode != 503 || got.Header.Get("Retry-After") != "1" {
		t.Errorf("the zero value: %d %v", got.StatusCode, got.Header)
	}
}

// counting is a session that allows and counts.
type counting struct{ asked *int }

func (c counting) Ask(r *wire.Request) *wire.Reply {
	*c.asked++
	reply := &wire.Reply{Verb: r.Verb, Reason: wire.OK, ExpiresIn: int64(*c.asked)}
	if r.Verb == wire.Decide {
		reply.Path = r.Targets[0]
	}
	return reply
}

func (c counting) PacketLimit() int { return wire.DefaultPacketLimit }

func (c counting) Refuse(fault wire.Reason) *wire.Reply {
	return &wire.Reply{Reason: fault, ExpiresIn: -1}
}

// The question is asked at one path, by any method, and nothing else of the server is one. What follows the path says
// nothing.
func TestHandler(t *testing.T) {
	spec.Rules(t, "ANS-4")
	asked := 0
	handler := httpauth.Handler(counting{&asked}, nil)
	for _, c := range []struct {
		method, url string
		header      http.Header
		status      int
	}{
		{"GET", "/authorize", with(), 200},
		{"POST", "/authorize?x=y", with(), 200},
		{"PROPFIND", "/authorize", with(), 200},
		{"GET", "/authorize", headers(), 400},
		{"GET", "/authorize/", with(), 200},
		{"PATCH", "/authorize/x-nmos//b/../c%2f?access_token=d&e=/a", with(), 200},
		{"GET", "/authorize/../x", with(), 200},
		{"GET", "/authorize/", headers(), 400},
		{"GET", "/authorize/a", headers(), 400},
		{"GET", "/authorize/a", headers("X-Original-Method", "GET"), 400},
		{"GET", "/authorize/a", headers("X-Original-Method", "GET", "X-Original-URI", ""), 400},
		{"GET", "/authorized", with(), 404},
		{"GET", "/authorize*", with(), 404},
		{"GET", "/x/authorize/", with(), 404},
		{"GET", "/", with(), 404},
		{"GET", "//authorize", with(), 404},
		{"GET", "/AUTHORIZE", with(), 404},
		{"OPTIONS", "/x-nmos", headers(), 404},
	} {
		before := asked
		r := httptest.NewRequest(c.method, "http://localhost"+c.url, nil)
		r.Header = c.header
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		got := w.Result()
		if got.StatusCode != c.status || (asked > before) != (c.status == 200) {
			t.Errorf("%s %s: %d, asked %d times", c.method, c.url, got.StatusCode, asked-before)
		}
		if c.status == 200 &&
			(got.Header.Get("X-Auth-Path") != "/a" || got.Header.Get("X-Auth-Expires-In") != strconv.Itoa(asked)) {
			t.Errorf("%s %s: %v", c.method, c.url, got.Header)
		}
		if c.status == 400 {
			body, _ := io.ReadAll(got.Body)
			if want := "X-Original-Method and X-Original-URI are needed"; !strings.Contains(string(body), want) {
				t.Errorf("%s %s: got %s, want that it names the headers: %q", c.method, c.url, body, want)
			}
			checkNMOSError(t, 400, body)
			if got.Header.Get("WWW-Authenticate") != "" {
				t.Error("a challenge for a question that is none")
			}
		}
	}
}
