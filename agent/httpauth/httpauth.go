// Package httpauth is the HTTP form of the decision socket's "decide": for web servers that ask before they serve
// (nginx auth_request, Caddy forward_auth, Traefik ForwardAuth, Envoy ext_authz). It decides nothing itself: it turns
// headers into a wire.Request and a wire.Reply into headers. The decision socket's packets it takes as they are, too,
// since whoever asks that is the device's own software.
//
// The web server is the caller and must set the headers below itself, so that its own client cannot.
package httpauth

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/wire"
)

// Path is the path of the question, with any method. Envoy appends the target of the original request, which is ignored
// because it may be Envoy's own reading of it.
const Path = "/authorize"

// PathKeys is the path of the device's own public keys (CLI-67), for the web server to publish at the jwks_uri.
const PathKeys = "/jwks"

// keysLife is for how many seconds the keys may be cached. oauth signs with a new key 15 s after it was published, and
// a server that has just read the old set may not ask again for ten of them (CLI-68).
const keysLife = "5"

// Session answers one question at a time; the reply is borrowed until the next.
type Session interface {
	Ask(*wire.Request) *wire.Reply
	Refuse(fault wire.Reason) *wire.Reply // answers a malformed request
	PacketLimit() int                     // bytes of the longest packet
}

// Handler returns the handler of one connection of http.sock, whose requests come one after another. keys returns the
// device's own JSON Web Key Set; nil if the device has none.
func Handler(session Session, keys func() []byte) http.Handler {
	return &handler{session: session, keys: keys}
}

type handler struct {
	session Session
	keys    func() []byte
	packet  bytes.Buffer // that was posted
	request wire.Request
	reply   []byte
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if takesPackets(r.URL.Path) {
		h.answerPacket(w, r)
		return
	}
	if r.URL.Path == PathKeys && h.keys != nil {
		publish(w, r.Method, h.keys())
		return
	}
	if r.URL.Path != Path && !strings.HasPrefix(r.URL.Path, Path+"/") {
		http.NotFound(w, r)
		return
	}
	request, fault := Question(r.Header)
	if fault != wire.Undecided {
		Answer(w, h.session.Refuse(fault))
		return
	}
	Answer(w, h.session.Ask(request))
}

// publish answers a request for the device's public keys, which anybody may read.
func publish(w http.ResponseWriter, method string, keys []byte) {
	if method != http.MethodGet && method != http.MethodHead {
		set(w, "Allow", "GET, HEAD")
		Fail(w, http.StatusMethodNotAllowed, "the keys can only be read", wire.Method.String())
		return
	}
	set(w, "Content-Type", "application/jwk-set+json") // RFC 7517 §8.5.2
	set(w, "Content-Length", strconv.Itoa(len(keys)))
	set(w, "Cache-Control", "max-age="+keysLife)
	w.Write(keys) // net/http leaves it out for HEAD
}

// Question reads the original request from the headers of the question. fault says what is wrong with them, Undecided
// nothing.
//
// X-Original-Method and X-Original-URI come first, then X-Forwarded-Method and X-Forwarded-Uri. A web server sets one
// pair and may pass on the other from its own client, so a pair must be whole, and if there are both they must agree:
// what the client wrote can then only make its own request fail.
func Question(h http.Header) (r *wire.Request, fault wire.Reason) {
	method, uri, fault := pair(h, "X-Original-Method", "X-Original-Uri")
	if fault != wire.Undecided {
		return nil, fault
	}
	forwardedMethod, forwardedURI, fault := pair(h, "X-Forwarded-Method", "X-Forwarded-Uri")
	switch {
	case method == "" && fault != wire.Undecided:
		return nil, fault
	case method == "":
		method, uri = forwardedMethod, forwardedURI
	case has(h, "X-Forwarded-Method") && h.Get("X-Forwarded-Method") != method,
		has(h, "X-Forwarded-Uri") && h.Get("X-Forwarded-Uri") != uri:
		return nil, wire.PacketTwice
	}
	if method == "" {
		return nil, wire.PacketMissing
	}
	request := &wire.Request{Verb: wire.Decide, Method: []byte(method), Targets: [][]byte{[]byte(uri)}}
	if has(h, "Authorization") {
		// Two headers are two tokens; joined as RFC 9110 §5.3 has it they are seen as such.
		request.Authorization = []byte(strings.Join(h["Authorization"], ","))
	}
	request.Upgrade = []byte(upgrade(h))
	for _, v := range [][]byte{request.Method, request.Targets[0], request.Authorization, request.Upgrade} {
		if !utf8.Valid(v) || bytes.IndexByte(v, 0) >= 0 {
			return nil, wire.PacketText
		}
	}
	return request, wire.Undecided
}

// upgrade returns the protocol that the original request asks for. Traefik passes no Upgrade on, and says that it was a
// WebSocket's handshake in X-Forwarded-Proto. That counts only in Traefik's own form of the question, which has no
// X-Original-Method.
func upgrade(h http.Header) string {
	switch {
	case has(h, "X-Original-Upgrade"):
		return h.Get("X-Original-Upgrade")
	case has(h, "Upgrade") || has(h, "X-Original-Method"):
		return h.Get("Upgrade")
	}
	if proto := h.Get("X-Forwarded-Proto"); proto == "ws" || proto == "wss" {
		return "websocket"
	}
	return ""
}

func has(h http.Header, name string) bool { return len(h[name]) > 0 }

// pair returns two headers that only count together; both empty if neither is there.
func pair(h http.Header, method, uri string) (m, u string, fault wire.Reason) {
	switch {
	case len(h[method]) > 1 || len(h[uri]) > 1:
		return "", "", wire.PacketTwice
	case !has(h, method) && !has(h, uri):
		return "", "", wire.Undecided
	case h.Get(method) == "" || h.Get(uri) == "":
		return "", "", wire.PacketMissing
	}
	return h.Get(method), h.Get(uri), wire.Undecided
}

// Answer writes the reply as HTTP.md describes it. For a denial the body is an NMOS error (ANS-7), or that of
// IS-14's API (CTL-67).
func Answer(w http.ResponseWriter, reply *wire.Reply) {
	setHeaders(w, reply)
	info := reply.Reason.Info()
	if reply.Reason.Allowed() {
		w.WriteHeader(info.Status)
		return
	}
	text := info.Text
	if reply.Reason == wire.PacketMissing { // here a question is in headers
		text = "X-Original-Method and X-Original-URI are needed, or X-Forwarded-Method and X-Forwarded-Uri"
	}
	set(w, "X-Auth-Error", text) // for a web server that cannot pass on the body: nginx
	if reply.Configuration {
		failMethod(w, info)
		return
	}
	Fail(w, info.Status, text, info.Code)
}

// set sets a header of an answer, unless its value is empty.
func set(w http.ResponseWriter, name, value string) {
	if value != "" {
		w.Header().Set(name, value)
	}
}

// setHeaders sets the headers of an answer.
func setHeaders(w http.ResponseWriter, reply *wire.Reply) {
	info := reply.Reason.Info()
	set(w, "Cache-Control", "no-store")
	set(w, "X-Auth-Reason", info.Code)
	set(w, "X-Auth-Client-Id", string(reply.ClientID))
	set(w, "X-Auth-Subject", string(reply.Subject))
	set(w, "X-Auth-Path", string(reply.Path))
	if reply.Enforced != wire.Undecided {
		set(w, "X-Auth-Would", string(reply.Enforced.Append(nil)))
	}
	if reply.Expires() {
		set(w, "X-Auth-Expires-In", strconv.FormatInt(reply.ExpiresIn, 10))
	}
	if reply.Challenge() {
		set(w, "WWW-Authenticate", string(wire.AppendChallenge(nil, reply.Realm, reply.Reason)))
	}
	switch info.Status {
	case http.StatusServiceUnavailable:
		set(w, "Retry-After", strconv.Itoa(max(reply.RetryAfter, 1)))
	case http.StatusMethodNotAllowed:
		set(w, "Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS") // RFC 9110 §15.5.6
	}
}

// Fail answers with an NMOS error (ANS-7): text is for people, debug says more.
//
//go:noinline // for flash
func Fail(w http.ResponseWriter, status int, text, debug string) {
	send(w, status, struct {
		Code  int    `json:"code"`
		Error string `json:"error"`
		Debug string `json:"debug"`
	}{status, text, debug})
}

// failMethod answers with an NcMethodResultError, as IS-14's API has it (CTL-67). Its status is an NcMethodStatus,
// which has no 403.
func failMethod(w http.ResponseWriter, info *wire.Info) {
	status := info.Status
	if status == http.StatusForbidden {
		status = http.StatusUnauthorized
	}
	send(w, info.Status, struct {
		Status       int    `json:"status"`
		ErrorMessage string `json:"errorMessage"`
	}{status, info.Text + " (" + info.Code + ")"})
}

// send answers with JSON.
func send(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil { // of three plain values: cannot happen, and must not allow
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	set(w, "Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}
