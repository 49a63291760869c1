package system_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	daemonstatus "nmosauthd/agent/status"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/spec"
)

// facility is a name server and authorization servers under host names that only it knows.
type facility struct {
	t       *testing.T
	dns     *dnsserver.Server
	servers []*authserver.Server // auth-1.example.com, auth-2.example.com, …
}

// newFacility starts n servers; the name server knows their hosts, and advertises them as records says.
func newFacility(t *testing.T, n int, records string) *facility {
	t.Helper()
	f := &facility{t: t}
	for i := range n {
		f.servers = append(f.servers, newServer(t, authserver.Options{Host: fmt.Sprintf("auth-%d.example.com", i+1)}))
	}
	var err error
	if f.dns, err = dnsserver.Start(dnsserver.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.dns.Close(); err != nil {
			t.Error(err)
		}
	})
	f.zone(records)
	return f
}

// zone sets the records: those of the hosts, and these, in which PORT1 stands for the port of the first server.
func (f *facility) zone(records string) {
	f.t.Helper()
	text := "$ORIGIN example.com.\n" + records + "\n"
	for i, s := range f.servers {
		text = strings.ReplaceAll(text, fmt.Sprintf("PORT%d", i+1), s.Port())
		text += fmt.Sprintf("auth-%d A 127.0.0.1\n", i+1)
	}
	if err := f.dns.SetZone(text); err != nil {
		f.t.Fatal(err)
	}
}

// advertise is the records of an instance whose host is that of the server of this number.
func advertise(number, pri, priority int) string {
	return fmt.Sprintf(`
		_nmos-auth._tcp          PTR auth-%[1]d._nmos-auth._tcp
		auth-%[1]d._nmos-auth._tcp  SRV %[3]d 0 PORT%[1]d auth-%[1]d
		auth-%[1]d._nmos-auth._tcp  TXT "api_proto=https" "api_ver=v1.0" "pri=%[2]d"
`, number, pri, priority)
}

// config is that of a daemon which has to find its servers.
func (f *facility) config() daemon.Config {
	c := trusting(f.t)
	c.Discovery = fmt.Sprintf("mode = \"unicast\"\ndomains = [\"example.com\"]\ndns_servers = [%q]", f.dns.Addr())
	c.More = "retry = \"1s\""
	return c
}

// bearing asks with a new token of the server of this number.
func (f *facility) bearing(number int) question {
	return get(senders).bearing(another(f.servers[number-1]).Sign())
}

// await waits until a token of the server of this number is judged, and good. Its server may have to be found first.
func (f *facility) await(b *box, number int) {
	f.t.Helper()
	eventually(f.t, fmt.Sprintf("a token of server %d to be good", number),
		func() bool { return b.ask(f.bearing(number)).status == 200 })
}

// A device that is told nothing but where DNS is finds its servers and decides. It asks the best of them for keys and
// no other before it needs to; all that were found are trusted, and whoever was not is not asked at all.
func TestServersAreFound(t *testing.T) {
	spec.Rules(t, "DIS-1", "KEY-5")
	t.Parallel()
	for _, c := range []struct {
		name, records string
		first         int
	}{
		{"DIS-3/pri", advertise(1, 30, 0) + advertise(2, 10, 9) + advertise(3, 20, 0), 2},
		{"DIS-3/SRV priority", advertise(1, 10, 2) + advertise(2, 10, 3) + advertise(3, 10, 1), 3},
		{"DIS-3/pri before SRV priority", advertise(1, 10, 9) + advertise(2, 20, 0) + advertise(3, 30, 0), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFacility(t, 4, c.records)
			config := f.config()
			config.Admin = true
			b := start(t, config)
			first := f.servers[c.first-1]
			waitRequests(t, first, authserver.PathJWKS, 1)
			f.await(b, c.first)
			for i, s := range f.servers {
				if n := s.Connections(); n > 0 && s != first {
					t.Errorf("%d connections to server %d, which nobody needed", n, i+1)
				}
			}
			b.waitLog(0, `"message":"servers found","servers":["`+first.Issuer()+`"`)

			second := c.first%3 + 1
			if a := b.ask(f.bearing(second)); a.status != 503 || a.reason != "keys-pending" || a.retry < 1 {
				t.Errorf("a server that was found and not yet asked: %v", a)
			}
			f.await(b, second)
			for range 20 {
				b.want(f.bearing(4), 401, "issuer-untrusted")
			}
			if n := f.servers[3].Connections(); n != 0 {
				t.Errorf("%d connections to a server that is not advertised", n)
			}
			// What is asked away from the daemon knows of its servers, too.
			for number, says := range map[int]string{c.first: "KEY-5    ok  ", 4: "nor has discovery found it"} {
				r := command(t, another(f.servers[number-1]).Sign(), "explain", "--config",
					b.ConfigFile(), "GET", senders)
				if !strings.Contains(r.out, says) || (r.status == 0) != (number != 4) {
					t.Errorf("server %d: exit status %d, %s\n%s", number, r.status, r.errors, r.out)
				}
			}
			_, _, s := b.status()
			if d := s.Discovery; d.Mode != "unicast" || len(d.Found) != 3 || d.Looked < s.Since ||
				d.Looked > s.Time || d.Error != "" {
				t.Errorf("the status has %+v", d)
			}
			for i, v := range s.Servers {
				asked := i == 0 || v.Issuer == strings.TrimSuffix(f.servers[second-1].Issuer(), "/")
				if v.Origin != daemonstatus.Discovered || v.Used != (i == 0) || len(v.KIDs) > 0 != asked ||
					v.Fetched > 0 != asked {
					t.Errorf("the status has server %d: %+v", i, v)
				}
			}
			if v := s.Servers[0]; len(s.Servers) != 3 || v.Issuer != strings.TrimSuffix(first.Issuer(), "/") {
				t.Errorf("the status has %+v", s.Servers)
			}
		})
	}
}

// Where the best server is dead the next one is asked immediately, without a token's asking for it.
func TestBestServerIsDead(t *testing.T) {
	spec.Rules(t, "KEY-2")
	t.Parallel()
	for _, fault := range []authserver.Fault{authserver.ResetConnect, authserver.CertOtherHost,
		authserver.CertOtherCA} {
		t.Run("KEY-2/"+string(fault), func(t *testing.T) {
			f := newFacility(t, 2, advertise(1, 10, 0)+advertise(2, 20, 0))
			f.servers[0].Misbehave("", fault)
			began := time.Now()
			b := start(t, f.config())
			waitRequests(t, f.servers[1], authserver.PathJWKS, 1)
			// The first attempt again comes 0.5 s after the first at the soonest, the next ones later.
			if n, most := f.servers[0].Connections(), 2+int(time.Since(began)/(500*time.Millisecond)); n < 1 ||
				n > most {
				t.Errorf("got %d connections to the dead server before the next was asked, want 1 to %d", n, most)
			}
			f.await(b, 2)
			b.want(f.bearing(1), 503, "keys-pending")
			if n := len(f.servers[0].Log()); n != 0 {
				t.Errorf("%d requests to the dead server (DIS-5)", n)
			}
			f.servers[0].Behave()
			f.await(b, 1)
		})
	}
}

// A device whose network comes up after it: it goes on looking, and decides soon after DNS answers.
func TestNameServerComesLater(t *testing.T) {
	spec.Rules(t, "DIS-6")
	t.Parallel()
	for _, fault := range []dnsserver.Fault{dnsserver.Silent, dnsserver.ServFail, dnsserver.NXDomain} {
		t.Run("DIS-6/"+string(fault), func(t *testing.T) {
			t.Parallel()
			f := newFacility(t, 1, advertise(1, 10, 0))
			f.dns.Misbehave("", "", fault)
			b := start(t, f.config())
			b.want(get("/x-nmos"), 200, "public")
			eventually(t, "two looks", func() bool { return len(f.dns.Questions()) >= 2 })
			if a := b.ask(f.bearing(1)); a.status != 503 {
				t.Errorf("before a server is known: %v", a)
			}
			if n := f.servers[0].Connections(); n != 0 {
				t.Errorf("%d connections to a server that was not found", n)
			}
			f.dns.Behave()
			f.await(b, 1)
			b.waitLog(0, "no authorization server found")
			if n := strings.Count(b.Log(), "no authorization server found"); n != 1 {
				t.Errorf("it says %d times that it finds none", n)
			}
		})
	}
}

// After a restart with DNS and the servers dead, what was found before is trusted and its keys decide, immediately.
func TestRestartWithoutDNS(t *testing.T) {
	spec.Rules(t, "KEY-3", "DIS-6")
	t.Parallel()
	f := newFacility(t, 3, advertise(1, 10, 0)+advertise(2, 20, 0))
	c := f.config()
	b := startKeeping(t, c)
	f.await(b, 1)
	b.waitKept(f.servers[0].Issuer() + `","keys"`)
	f.dns.Misbehave("", "", dnsserver.Silent)
	for _, s := range f.servers {
		s.Misbehave("", authserver.ResetConnect)
	}
	b.again(nil)
	b.want(f.bearing(1), 200, "ok")
	b.want(f.bearing(2), 503, "keys-pending") // found before, and never asked
	b.want(f.bearing(3), 401, "issuer-untrusted")

	// DNS comes back with another server in place of the first, whose keys go on being held for a day.
	f.dns.Behave()
	f.zone(advertise(3, 10, 0))
	f.servers[2].Behave()
	f.await(b, 3)
	b.want(f.bearing(1), 200, "ok")
	b.waitKept(f.servers[2].Issuer() + `","keys"`)

	// Where discovery is switched off, nothing that it found before is trusted.
	b.again(func(c *daemon.Config) { c.Discovery = "" })
	for number := 1; number <= 3; number++ {
		b.want(f.bearing(number), 401, "issuer-untrusted")
	}
}

// Roots are installed and removed by replacing the file while the daemon runs; nothing tells it.
func TestRootsAreReplaced(t *testing.T) {
	spec.Rules(t, "DIS-5")
	t.Parallel()
	other, err := authserver.NewCA("the new CA of the facility")
	if err != nil {
		t.Fatal(err)
	}
	f := newFacility(t, 1, "")
	f.servers = append(f.servers, newServer(t, authserver.Options{Host: "auth-2.example.com", CA: other}))
	f.zone(advertise(1, 10, 0) + advertise(2, 20, 0))
	c := f.config()
	c.More += "\nrefresh = \"5s\""
	b := start(t, c)
	f.await(b, 1)
	b.want(f.bearing(2), 503, "keys-pending")
	b.waitLog(0, "the certificate comes from an authority that this device does not trust")
	b.want(f.bearing(2), 503, "keys-pending")
	if n := len(f.servers[1].Log()); n != 0 {
		t.Errorf("%d requests to a server whose certificate is not trusted", n)
	}

	install := func(pem []byte) {
		t.Helper()
		next := b.CAFile() + ".next"
		if err := os.WriteFile(next, pem, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, b.CAFile()); err != nil {
			t.Fatal(err)
		}
	}
	install(append(ca(t).PEM(), other.PEM()...))
	f.await(b, 2)

	// The old root removed: its server's keys stay held, and it is talked to no more.
	before := len(b.Log())
	install(other.PEM())
	requests := func() int { return len(f.servers[0].Log()) }
	b.waitLog(before, `"message":"keys not fetched; those held stay valid","issuer":"`+f.servers[0].Issuer())
	from := requests()
	b.want(f.bearing(1), 200, "ok")
	after := f.servers[0].Connections()
	eventually(t, "another attempt at the old server", func() bool { return f.servers[0].Connections() > after })
	if n := requests(); n != from {
		t.Errorf("%d requests to a server whose root was removed", n-from)
	}
}
