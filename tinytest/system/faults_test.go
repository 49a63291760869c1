package system_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// sayings is what the log must say of each fault, so that whoever reads it knows where to look. "|" stands between what
// is said of metadata and what of keys.
var sayings = map[authserver.Fault]string{
	authserver.Hang:           "no full answer in time",
	authserver.Half:           "the answer was cut off after",
	authserver.HTML:           "an HTML page, not JSON",
	authserver.NotFound:       "HTTP 404 Not Found",
	authserver.ServerError:    "HTTP 500 Internal Server Error",
	authserver.Unavailable:    "HTTP 503 Service Unavailable",
	authserver.RedirectHTTP:   "a redirect to \"127.0.0.1:",
	authserver.RedirectOther:  "a redirect to \"localhost:",
	authserver.RedirectLoop:   "a redirect to \"127.0.0.1:",
	authserver.Reset:          "the server closed the connection",
	authserver.Drip:           "no full answer in time",
	authserver.BodyBroken:     "not JSON",
	authserver.BodyDuplicates: "gives one member name twice|duplicate key",
	authserver.BodyEmpty:      "an empty document",
	authserver.BodyNull:       "the document names no issuer|neither a JSON object nor an array",
	authserver.BodyHuge:       "the document is over 256 KiB",
	authserver.BodyEndless:    "the document is over 256 KiB",
	authserver.GzipGarbage:    "the document is compressed",
	authserver.GzipBomb:       "the document is compressed",

	authserver.MetadataOtherIssuer: "the document names another issuer, \"https://attacker.example.net\"",
	authserver.MetadataNoIssuer:    "the document names no issuer",
	authserver.MetadataNoJWKS:      "the document names no jwks_uri",
	authserver.MetadataJWKSHTTP:    "not https",
	authserver.MetadataJWKSNotURL:  "unexpected JSON",

	authserver.KeysEmpty:   "the key set holds no RSA key that can verify RS512",
	authserver.KeysMissing: "neither an object with \"keys\" nor an array of keys",
	authserver.KeysObject:  "neither an object with \"keys\" nor an array of keys",
	authserver.KeysOfEnc:   "the key set holds no RSA key that can verify RS512",
	authserver.KeysOfRS256: "the key set holds no RSA key that can verify RS512",
	authserver.KeysOf1024:  "the key set holds no RSA key that can verify RS512",
	authserver.KeysOf16384: "the key set holds no RSA key that can verify RS512",
	authserver.KeysMany:    "the document is over 256 KiB",

	authserver.CertOtherCA:   "the certificate comes from an authority that this device does not trust",
	authserver.CertOtherHost: "the certificate is for another host",
	authserver.CertExpired:   "the certificate is not valid: x509: certificate has expired",
	authserver.TLS11:         "protocol version not supported",
	authserver.PlainPort:     "does not speak TLS",
	authserver.ResetConnect:  "the server closed the connection",
	authserver.HangConnect:   "no full answer in time|TLS handshake timeout",
}

// trouble is one fault of one server.
type trouble struct {
	name   string // of the subtest
	path   string
	fault  authserver.FaultInfo
	server *authserver.Server
}

// hangs reports whether it takes the daemon until its time is up to see the fault.
func (f trouble) hangs() bool {
	switch f.fault.Fault {
	case authserver.Hang, authserver.Drip, authserver.HangConnect:
		return true
	}
	return false
}

// troubles is every fault that the server knows, at every place that it has it, each with a server of its own.
func troubles(t *testing.T, hanging bool) []trouble {
	t.Helper()
	var all []trouble
	for _, f := range authserver.Faults {
		rule, paths := "KEY-3", []string{authserver.PathJWKS}
		switch f.Scope {
		case authserver.AnyPath:
			paths = append(paths, authserver.PathMetadata)
		case authserver.MetadataPath:
			rule, paths = "KEY-8", []string{authserver.PathMetadata}
		case authserver.Connection:
			rule = "DIS-5"
		}
		for _, path := range paths {
			name := fmt.Sprintf("%s/%s-at-%s", rule, f.Fault, path[strings.LastIndexByte(path, '/')+1:])
			one := trouble{name: name, path: path, fault: f}
			if f.Fault != authserver.MetadataJWKSElsewhere && one.hangs() == hanging { // see TestKeysLieElsewhere
				one.server = newServer(t, authserver.Options{})
				all = append(all, one)
			}
		}
	}
	return all
}

// fetchEvent is a line of the daemon's log about a fetch.
type fetchEvent struct {
	Message, Issuer, Error string
	Keys                   int
}

// failures are the failed fetches of an issuer that the log tells of.
func (b *box) failures(issuer string) (all []fetchEvent) {
	for line := range strings.Lines(b.Log()) {
		var e fetchEvent
		if json.Unmarshal([]byte(line), &e) == nil && e.Issuer == issuer &&
			strings.HasPrefix(e.Message, "keys not fetched") {
			all = append(all, e)
		}
	}
	return all
}

// startTrouble runs a daemon that has all these servers, with the keys of each.
func startTrouble(t *testing.T, all []trouble, further ...*authserver.Server) *box {
	t.Helper()
	servers := further
	for _, f := range all {
		servers = append(servers, f.server)
	}
	config := trusting(t, servers...)
	config.More = "retry = \"1s\"\n"
	b := start(t, config)
	for _, s := range servers {
		b.await(get(senders).bearing(everything(s).Sign()), 200, "ok")
	}
	for _, f := range all { // from now on
		f.server.AddKey(mint.CachedKey("key-2", 2048))
		if f.hangs() {
			f.server.MisbehaveTimes(f.path, f.fault.Fault, 1)
		} else {
			f.server.Misbehave(f.path, f.fault.Fault)
		}
	}
	return b
}

// newKey is a question with a token of the key that the server published when it began to misbehave.
func (f trouble) newKey() question {
	tok := another(f.server)
	tok.Key = mint.CachedKey("key-2", 2048)
	tok.Header.Set("kid", tok.Key.KID)
	return get(senders).bearing(tok.Sign())
}

// said reports whether the error is what the log should say of the fault.
func (f trouble) said(text string) bool {
	for says := range strings.SplitSeq(sayings[f.fault.Fault], "|") {
		if says != "" && strings.Contains(text, says) {
			return true
		}
	}
	return false
}

// check looks at one server while it misbehaves: the daemon keeps what it holds, and says what is wrong.
func (f trouble) check(t *testing.T, b *box) {
	if f.fault.Good {
		b.await(f.newKey(), 200, "ok")
		return
	}
	issuer := f.server.Issuer()
	eventually(t, "a failed fetch in the log", func() bool { return len(b.failures(issuer)) > 0 })
	if e := b.failures(issuer)[0]; !f.said(e.Error) || e.Keys != 1 || len(e.Error) > 400 ||
		strings.Contains(e.Error, "xxxxxxxx") {
		t.Errorf("the log says %+v, want %q, and one key held", e, sayings[f.fault.Fault])
	}
	b.want(get(senders).bearing(another(f.server).Sign()), 200, "ok")
}

// checkRecovered looks at a server that behaves again. It must not have led the daemon anywhere meanwhile.
func (f trouble) checkRecovered(t *testing.T, b *box) {
	b.await(f.newKey(), 200, "ok")
	b.want(get(senders).bearing(another(f.server).Sign()), 200, "ok")
	for _, r := range f.server.Log() {
		if r.Scheme != "https" || strings.HasPrefix(r.Path, authserver.PathElsewhere) {
			t.Errorf("the daemon let itself be led to %s %s", r.Scheme, r.Path)
		}
	}
}

// in is the same box for a subtest.
func (b *box) in(t *testing.T) *box {
	return &box{Daemon: b.Daemon, caller: b.on(t), t: t, config: b.config}
}

// Every way to misbehave: the keys held stay valid, the daemon goes on answering, the log says what was wrong, and once
// the server behaves its new keys are there.
func TestServerMisbehaves(t *testing.T) {
	t.Parallel()
	all := troubles(t, false)
	if len(all) < 40 {
		t.Fatalf("only %d faults", len(all))
	}
	b := startTrouble(t, all)
	for _, f := range all { // so that they are all asked
		if a := b.ask(f.newKey()); a.status != 503 {
			t.Errorf("%s: %v", f.name, a)
		}
	}
	for _, f := range all {
		t.Run(f.name, func(t *testing.T) { f.check(t, b.in(t)) })
	}
	for _, f := range all {
		f.server.Behave()
		b.ask(f.newKey())
	}
	for _, f := range all {
		t.Run(f.name+"/recovers", func(t *testing.T) { f.checkRecovered(t, b.in(t)) })
	}
}

// An issuer says itself, on TLS, where its keys lie, and RFC 8414 lets it name any https origin. So the keys there are
// its keys, and those that lay here before are gone.
func TestKeysLieElsewhere(t *testing.T) {
	spec.Rules(t, "KEY-8")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.More = "retry = \"1s\""
	b := start(t, config)
	here := get(senders).bearing(everything(server).Sign())
	b.await(here, 200, "ok")
	server.Misbehave(authserver.PathMetadata, authserver.MetadataJWKSElsewhere)
	there := everything(server)
	there.Key = mint.CachedKey("attacker", 2048)
	there.Header.Set("kid", "attacker")
	b.await(get(senders).bearing(there.Sign()), 200, "ok")
	b.want(here, 401, "key-unknown")
}

// Servers that hang: nobody waits for them, neither other questions nor other servers' keys.
func TestServerHangs(t *testing.T) {
	t.Parallel()
	good := newServer(t, authserver.Options{})
	all := troubles(t, true)
	halves := [][]trouble{all[:len(all)/2], all[len(all)/2:]} // no more at a time than the daemon fetches from
	for i, some := range halves {
		t.Run(fmt.Sprint("part ", i+1), func(t *testing.T) {
			t.Parallel()
			b := startTrouble(t, some, good)
			hanging := time.Now()
			for _, f := range some {
				before := f.server.Connections()
				b.want(f.newKey(), 503, "keys-pending")
				eventually(t, "the fetch that hangs", func() bool { return f.server.Connections() > before })
			}
			served := 0
			gaveUp := func() bool {
				return slices.ContainsFunc(some, func(f trouble) bool { return len(b.failures(f.server.Issuer())) > 0 })
			}
			for begin := time.Now(); time.Since(begin) < 2*time.Second || served < 20 && !gaveUp(); served += 3 {
				b.want(get("/x-nmos"), 200, "public")
				for _, s := range []*authserver.Server{good, some[0].server} {
					b.want(get(senders).bearing(another(s).Sign()), 200, "ok")
				}
			}
			t.Logf("%d questions were answered while fetches hang", served)
			if gaveUp() && time.Since(hanging) < 9*time.Second { // a fetch that hangs is given up after 10 s
				t.Errorf("got a failed fetch after %v, want all to hang:\n%s", time.Since(hanging), b.troubles())
			}
			if served < 20 { // a machine may be slow, but who waits for the fetch is not served at all
				t.Errorf("got %d answers before fetches were given up, want 20 at least", served)
			}
			good.AddKey(mint.CachedKey("key-2", 2048))
			b.await(trouble{server: good}.newKey(), 200, "ok")
			for _, f := range some {
				t.Run(f.name, func(t *testing.T) {
					f.check(t, b.in(t))
					f.checkRecovered(t, b.in(t))
				})
			}
		})
	}
}

// A device may be up before its server, and before its roots are installed: nobody is let in by mistake meanwhile, and
// all is well by itself in the end.
func TestServerComesLate(t *testing.T) {
	spec.Rules(t, "KEY-2", "DIS-5")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	server.Misbehave("", authserver.ResetConnect)
	config := trusting(t, server)
	config.More = "retry = \"1s\""
	b := start(t, config)
	good, forged := get(senders).bearing(everything(server).Sign()), get(senders).bearing(unsigned(everything(server)))
	for range 3 {
		b.want(forged, 503, "keys-pending")
		if a := b.ask(good); a.status != 503 || a.retry < 1 {
			t.Errorf("without keys: %+v", a)
		}
		b.want(get("/x-nmos"), 200, "public")
		b.want(get(senders), 401, "no-token")
	}
	server.Behave()
	waitRequests(t, server, authserver.PathJWKS, 1) // without a question
	b.await(good, 200, "ok")
	b.want(forged, 401, "signature")

	// The roots come late, and go: what is held stays valid, and new keys need roots.
	if err := os.Rename(b.CAFile(), b.CAFile()+".away"); err != nil {
		t.Fatal(err)
	}
	server.AddKey(mint.CachedKey("key-2", 2048))
	fresh := trouble{server: server}.newKey()
	b.want(fresh, 503, "keys-pending")
	eventually(t, "the failure in the log", func() bool {
		return strings.Contains(b.Log(), "the root certificates: ca_file: open ")
	})
	b.want(good, 200, "ok")
	b.want(fresh, 503, "keys-pending")
	if err := os.WriteFile(b.CAFile(),
		[]byte("-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the failure in the log", func() bool {
		b.want(fresh, 503, "keys-pending")
		return strings.Contains(b.Log(), "holds no certificate in PEM")
	})
	if err := os.Rename(b.CAFile()+".away", b.CAFile()); err != nil {
		t.Fatal(err)
	}
	b.await(fresh, 200, "ok")
}

// A daemon that waits for a server ends immediately when it is told to.
func TestStopWhileServerHangs(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	server.Misbehave(authserver.PathMetadata, authserver.Hang)
	b := start(t, trusting(t, server))
	waitRequests(t, server, authserver.PathMetadata, 1)
	begin := time.Now()
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 9*time.Second { // the fetch would be given up after 10 s
		t.Errorf("the stop took %v, want it to end the fetch", took)
	}
}
