package system_test

import (
	"regexp"
	"strings"
	"testing"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/spec"
)

// "nmos-authd discover" tells by its exit status whether a server can be used, and names the record that is wrong.
func TestDiscoverCommand(t *testing.T) {
	spec.Rules(t, "DIS-1", "DIS-3", "DIS-5")
	t.Parallel()
	f := newFacility(t, 2, "")
	dir := newDir(t)
	if err := dir.Write(f.config()); err != nil {
		t.Fatal(err)
	}
	good, second := advertise(1, 10, 0), advertise(2, 20, 0)
	but := func(old, with string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("the records do not hold %s", old)
		}
		return strings.Replace(good, old, with, 1)
	}
	for _, c := range []struct {
		name, records string
		status        int
		says          string // regular expression, on one line
		spoil         func()
	}{
		{"DIS-1/good", good, 0, `the server that would be used: https://auth-1\.`, nil},
		{"DIS-3/both good, the better one", good + second, 0, `the server that would be used: https://auth-1\.`, nil},
		{"DIS-1/nothing advertised", "", 1, `PTR _nmos-auth\._tcp\.example\.com \?`, nil},
		{"DIS-3/no api_proto", but(`"api_proto=https"`, ""), 1, `left out +auth-1: no api_proto`, nil},
		{"DIS-3/api_proto http", but("api_proto=https", "api_proto=http"), 1,
			`left out +auth-1: api_proto is http`, nil},
		{"DIS-3/api_ver wrong", but("api_ver=v1.0", "api_ver=v2.0"), 1,
			`left out +auth-1: api_ver "v2\.0" lacks v1\.0`, nil},
		{"DIS-3/no pri", but(`"pri=10"`, ""), 1, `left out +auth-1: no pri`, nil},
		{"DIS-1/target does not resolve", but("PORT1 auth-1", "PORT1 auth-9"), 1,
			`left out +auth-1: the host auth-9\.example\.com has no address: no such name`, nil},
		{"DIS-1/no SRV", but("SRV 0 0 PORT1 auth-1", `HINFO "a" "b"`), 1,
			`left out +auth-1: no SRV record: no record of this type`, nil},
		{"DIS-1/no TXT", but("TXT ", `TYPE999 \# 0 ; `), 1,
			`left out +auth-1: no TXT record: no record of this type`, nil},
		{"DIS-5/certificate for another name", but("PORT1 auth-1", "PORT1 auth-2"), 1,
			`CANNOT be used: https://auth-2\.example\.com:\d+: the certificate is for another host`, nil},
		{"DIS-5/certificate of another CA", good, 1,
			`CANNOT be used: .*the certificate comes from an authority that this device does not trust`, func() {
				f.servers[0].Misbehave("", authserver.CertOtherCA)
			}},
		{"DIS-6/the first wrong, the second good", but("api_ver=v1.0", "api_ver=v2.0") + second, 0,
			`the server that would be used: https://auth-2\.`, nil},
		{"DIS-6/the first dead, the second good", good + second, 0,
			`the server that would be used: https://auth-2\.`, func() {
				f.servers[0].Misbehave("", authserver.ResetConnect)
			}},
		{"DIS-4/the server knows no metadata", good, 1,
			`CANNOT be used: .*/\.well-known/oauth-authorization-server: HTTP 404 Not Found`, func() {
				f.servers[0].Misbehave(authserver.PathMetadata, authserver.NotFound)
			}},
		{"DIS-1/the name server fails", good, 1,
			`PTR _nmos-auth\._tcp\.example\.com: name server .*: SERVFAIL`, func() {
				f.dns.Misbehave("", "", dnsserver.ServFail)
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.zone(c.records)
			if c.spoil != nil {
				c.spoil()
				defer f.dns.Behave()
				defer f.servers[0].Behave()
			}
			r := command(t, "", "discover", "--config", dir.ConfigFile())
			if r.status != c.status || r.errors != "" || !regexp.MustCompile(c.says).MatchString(r.out) {
				t.Errorf("exit status %d, want %d, with %s\n%s%s", r.status, c.status, c.says, r.out, r.errors)
			}
			if no := strings.Contains(r.out, "NO authorization server can be used"); no != (r.status == 1) {
				t.Errorf("exit status %d, and it says\n%s", r.status, r.out)
			}
		})
	}
	command(t, "", "discover", "--config", "/no/such/file").check(t, 2, "", "/no/such/file")
}
