package webserver_test

import (
	"net"
	"path/filepath"
	"testing"
)

// startCaddy runs Caddy with the lines of the README and the shipped file, word by word but for addresses.
func startCaddy(t *testing.T, r *rig) *front {
	f := newFront(t, "caddy", "apt-get install caddy")
	f.keepsSpelling, f.passesTrailers, f.judgesKeys = true, true, true
	host, port, err := net.SplitHostPort(f.addr)
	if err != nil {
		t.Fatal(err)
	}
	f.copy("caddy/nmos-authd.caddyfile", "unix//run/nmos-authd/http.sock", "unix/"+r.http, "dial_timeout 1s",
		"dial_timeout "+askPatience, "response_header_timeout 2s", "response_header_timeout "+askPatience)
	f.lines("caddy/README.md", "Caddyfile", "/etc/caddy/", f.dir+"/", "127.0.0.1:8080", r.behind, "\n:80 {",
		"\n:"+port+" {\n\tbind "+host)
	f.start("run", "--config", filepath.Join(f.dir, "Caddyfile"), "--adapter", "caddyfile")
	return f
}

// caddyDifferences come from Caddy's reading the target before it asks.
var caddyDifferences = []difference{
	{`TOK-5/(token-100-kb|payload-nested-200000-deep)`, "431",
		"the daemon's HTTP socket says so, and the device's HTTP server"},
	{`header with a delete`, "400", "in other words"},
	{`TOK-1/(payload-(carriage-return|nul)|signature-carriage-return-after)`, "400",
		"a control character, in other words"},
	{`target .*/x-nmos/node/v1\.3/self#.*`, "200|401|404", "Caddy judges and hands over %23"},
	{`target .*/x-nmos/node/v1\.3/é`, "200|401|404", "Caddy judges and hands over %C3%A9"},
	{`target .*(http:/x-nmos|http://|ftp://.*)`, "200",
		"Caddy judges and serves the path, whatever the scheme and host"},
	{`target options \*`, "200", "Caddy says itself what it can do, which is nothing of the device's"},
	{`handshake a fragment with dots.*`, "401|403", "Caddy judges and hands over %23"},
	{`handshake token in a fragment`, "404", "Caddy judges and hands over %23"},
	{`handshake for the sources? only`, "403", "Caddy asks for the socket's own path"},
}
