package system_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	daemonstatus "nmosauthd/agent/status"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/spec"
)

// With servers by hand and nothing said about discovery, whoever advertises itself is not an issuer, and nobody is
// asked who does. Found before the configuration named servers, it is dropped when that is read.
func TestConfiguredServersAreAlone(t *testing.T) {
	spec.Rules(t, "DIS-2", "DIS-6")
	t.Parallel()
	f := newFacility(t, 2, advertise(2, 10, 0))
	c := f.config()
	c.Admin, c.Discovery = true, strings.Replace(c.Discovery, "mode = \"unicast\"", "", 1)
	byHand := c
	byHand.Servers = []string{f.servers[0].Issuer()}
	b := startKeeping(t, c)
	f.await(b, 2)
	b.waitKept(f.servers[1].Issuer() + `","keys"`)
	_, _, s := b.status()
	if s.Discovery.Mode != "both" {
		t.Errorf("without servers: the status has %+v, want the mode both", s.Discovery)
	}

	byHand.State = b.config.State
	b.reload(byHand)
	b.want(f.bearing(2), 401, "issuer-untrusted")
	f.dns.Forget()
	f.await(b, 1)
	b.again(nil)
	b.want(f.bearing(1), 200, "ok")
	b.want(f.bearing(2), 401, "issuer-untrusted")
	_, _, s = b.status()
	if s.Discovery.Mode != "off" || len(s.Discovery.Found) != 0 || len(s.Servers) != 1 {
		t.Errorf("beside servers: the status has %+v, %+v; want the mode off and one server", s.Discovery, s.Servers)
	}
	for _, q := range f.dns.Questions() {
		if strings.Contains(q.Name, "_nmos-auth") {
			t.Errorf("asked for %s, want no look for servers", q.Name)
		}
	}
	r := command(t, "", "check-config", "--config", b.ConfigFile())
	r.check(t, 0, "discovery is off, so only issuers that [authorization] names are trusted", "")
}

// Only hosts that the configuration names may be found, from SIGHUP on: KEY-3 protects no keys of others.
func TestHostsBoundWhoIsFound(t *testing.T) {
	spec.Rules(t, "DIS-6")
	t.Parallel()
	f := newFacility(t, 2, advertise(1, 10, 0)+advertise(2, 20, 0))
	c := f.config()
	b := startKeeping(t, c)
	f.await(b, 1)
	f.await(b, 2)
	r := command(t, "", "check-config", "--config", b.ConfigFile())
	r.check(t, 0,
		"[discovery] hosts is empty: tokens are accepted from any host that DNS-SD names, if its certificate chains "+
			"to "+b.CAFile(), "")

	bound := b.config
	bound.Discovery += "\nhosts = [\"*-2.example.com\"]"
	b.reload(bound)
	b.want(f.bearing(1), 401, "issuer-untrusted")
	b.want(f.bearing(2), 200, "ok")
	b.waitLog(0, `[discovery] hosts does not name the host \"auth-1.example.com\"`)
	f.dns.Forget()
	b.again(nil) // nor was it kept
	b.want(f.bearing(1), 401, "issuer-untrusted")
	b.want(f.bearing(2), 200, "ok")
	r = command(t, "", "discover", "--config", b.ConfigFile())
	if r.status != 0 || !strings.Contains(r.out,
		`left out  auth-1: [discovery] hosts does not name the host "auth-1.example.com"`) {
		t.Errorf("exit status %d, want 0 and auth-1 left out:\n%s", r.status, r.out)
	}
	r = command(t, "", "check-config", "--config", b.ConfigFile())
	r.check(t, 0, `[discovery] hosts = ["*-2.example.com"]: tokens are accepted from each of these hosts`, "")
}

// INFO-002's Keycloak: advertised without api_selector, its metadata at the root names an issuer with a path. That one
// counts and no other; over a restart with everything dead, too.
func TestKeycloakAtRoot(t *testing.T) {
	spec.Rules(t, "KEY-8")
	t.Parallel()
	f := newFacility(t, 0, "")
	server := newServer(t, authserver.Options{Host: "auth-1.example.com", IssuerPath: "/auth/realms/nmos",
		AtRoot: true})
	f.servers = append(f.servers, server)
	f.zone(advertise(1, 10, 0))
	of := func(issuer string) question {
		tok := another(server)
		tok.Claims.Set("iss", issuer)
		return get(senders).bearing(tok.Sign())
	}
	c := f.config()
	c.Admin = true
	server.Misbehave("", authserver.ResetConnect)
	b := startKeeping(t, c)
	b.waitLog(0, `"message":"servers found"`)
	for _, issuer := range []string{server.Issuer(), server.URL(), server.URL() + "/auth/realms/master"} {
		b.want(of(issuer), 503, "keys-pending") // nobody knows yet which it is
	}
	for _, issuer := range []string{"https://auth-1.example.com/auth/realms/nmos", "http" +
		strings.TrimPrefix(server.Issuer(), "https"), "https://auth-2.example.com"} {
		b.want(of(issuer), 401, "issuer-untrusted")
	}
	server.Behave()
	f.await(b, 1)
	for _, issuer := range []string{server.URL(), server.URL() + "/auth/realms/master"} {
		b.want(of(issuer), 401, "issuer-untrusted")
	}
	b.waitLog(0, fmt.Sprintf(`"message":"server names its issuer","server":%q,"issuer":%q`, server.URL(),
		server.Issuer()))
	b.waitKept(server.Issuer() + `","keys"`)
	_, text, s := b.status()
	if v := s.Servers[0]; len(s.Servers) != 1 || v.Issuer != server.Issuer() || v.At != server.URL() ||
		v.Origin != daemonstatus.Discovered || v.Domain != "example.com" {
		t.Errorf("the status has %+v", s.Servers)
	}
	if !strings.Contains(text, "named by "+server.URL()) {
		t.Errorf("the status is\n%s", text)
	}
	r := command(t, another(server).Sign(), "explain", "--config", b.ConfigFile(), "GET", senders)
	if !strings.Contains(r.out, "KEY-5    ok  ") {
		t.Errorf("explain says, want KEY-5 ok:\n%s", r.out)
	}
	r = command(t, "", "discover", "--config", b.ConfigFile())
	if r.status != 0 || !strings.Contains(r.out, "its tokens are from the issuer "+server.Issuer()) {
		t.Errorf("exit status %d, want 0 and the issuer:\n%s", r.status, r.out)
	}

	server.Misbehave("", authserver.ResetConnect)
	b.again(nil)
	b.want(of(server.Issuer()), 200, "ok")
	b.want(of(server.URL()+"/auth/realms/master"), 503, "keys-pending") // it may have been renamed meanwhile
}

// "nmos-authd forget" drops an issuer that was found, with its keys; not one that the configuration names, and nothing
// that is not there.
func TestForgetCommand(t *testing.T) {
	spec.Rules(t, "DIS-6")
	t.Parallel()
	f := newFacility(t, 2, advertise(2, 10, 0))
	c := f.config()
	c.Admin = true
	c.Servers = []string{f.servers[0].Issuer()}
	b := startKeeping(t, c)
	f.await(b, 1)
	f.await(b, 2)
	f.zone("") // what is still advertised would come back
	command(t, "", "forget", "--config", b.ConfigFile(), f.servers[1].Issuer()).check(t, 0,
		f.servers[1].Issuer()+" is forgotten", "")
	b.want(f.bearing(2), 401, "issuer-untrusted")
	b.want(f.bearing(1), 200, "ok")
	b.waitLog(0, `"message":"issuer forgotten, as asked on the admin socket","issuer":"`+f.servers[1].Issuer())
	b.again(nil)
	b.want(f.bearing(2), 401, "issuer-untrusted")

	command(t, "", "forget", "--config", b.ConfigFile(), f.servers[1].Issuer()).check(t, 1, "",
		"there is no such issuer")
	command(t, "", "forget", "--config", b.ConfigFile(), f.servers[0].Issuer()+"/").check(t, 1, "",
		"[authorization] servers names it")
	command(t, "", "forget", "--config", b.ConfigFile()).check(t, 2, "", "too few or too many arguments")
	b.want(f.bearing(1), 200, "ok")
	for path, want := range map[string]int{"/servers": 404, "/servers?issuer=": 404, "/servers?issuer=" +
		url.QueryEscape(f.servers[0].Issuer()): 409} {
		if status, body := b.admin("DELETE", path, ""); status != want {
			t.Errorf("DELETE %s: %d %s, want %d", path, status, body, want)
		}
	}
	if status, _ := b.admin("GET", "/servers", ""); status != 405 {
		t.Errorf("GET /servers: %d, want 405", status)
	}
	b.again(func(c *daemon.Config) { c.Admin = false })
	if r := command(t, "", "forget", "--config", b.ConfigFile(), "x"); r.status != 2 {
		t.Errorf("without an admin socket: exit status %d, want 2: %s", r.status, r.errors)
	}
}
