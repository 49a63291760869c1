package webserver_test

import (
	"path/filepath"
	"testing"
)

// newHAProxy has the script in its folder.
func newHAProxy(t *testing.T, r *rig, replace ...string) *front {
	f := newFront(t, "haproxy", "apt-get install haproxy")
	f.passesTrailers = true
	patience := "3000" // the daemon lets a question wait for 3 s
	if r.quick {
		patience = "1500" // HAProxy tries four times, which is 12 s otherwise if the daemon hangs
	}
	f.copy(
		"haproxy/nmos-authd.lua",
		append(replace, "/run/nmos-authd/http.sock", r.http, "patience = 500 ", "patience = "+patience+" ")...)
	return f
}

// startHAProxy runs HAProxy with the shipped files, word by word but for addresses, folders and the log.
func startHAProxy(t *testing.T, r *rig) *front {
	return startHAProxyWith(t, r, func(script string) string { return script })
}

// startHAProxyWith is startHAProxy for another script.
func startHAProxyWith(t *testing.T, r *rig, another func(string) string) *front {
	f := newHAProxy(t, r, "local own = {}", `local own = { ["`+events+`"] = true }`)
	f.passesEvents = true
	f.rewrite("nmos-authd.lua", another)
	f.copy("haproxy/haproxy.cfg", "log /dev/log local0 ", "log stdout format raw local0 ", "/etc/haproxy/", f.dir+"/",
		"bind :80\n", "bind "+f.addr+"\n", "server device 127.0.0.1:8080", "server device "+r.behind,
		"unix@/run/nmos-authd/http.sock", "unix@"+r.http)
	f.start("-db", "-f", filepath.Join(f.dir, "haproxy.cfg"))
	return f
}

// haproxyLines runs HAProxy with the lines of its README alone.
func haproxyLines(t *testing.T, r *rig) *front {
	f := newHAProxy(t, r)
	f.lines(
		"haproxy/README.md",
		"haproxy.cfg",
		"/etc/haproxy/",
		f.dir+"/",
		"bind :80\n",
		"bind "+f.addr+"\n",
		"127.0.0.1:8080",
		r.behind,
	)
	f.start("-db", "-f", filepath.Join(f.dir, "haproxy.cfg"))
	return f
}

// haproxyDifferences are mostly requests that HAProxy refuses before it asks.
var haproxyDifferences = []difference{
	{
		`TOK-5/(token-100-kb|payload-nested-200000-deep)`,
		"400|431",
		"more headers than tune.bufsize, or than the HTTP socket reads",
	},
	{
		`TOK-1/(payload-(carriage-return|nul|newline)|signature-carriage-return-after)`,
		"400",
		"a control character, in other words",
	},
	{`target.* (\?x|x|@?nmos.*|http:/x-nmos|http://node-1\.example\.com[?#]x)`, "400", "no target for HAProxy"},
	{
		`target.* /x-nmos/node/v1\.3/self(\?a=b)?#.*|handshake (token in a fragment|a fragment with dots.*)`,
		"400",
		"nor a fragment",
	},
	{`target.* /x-nmos/node/v1\.3/é`, "400", "nor what is not ASCII"},
	{`target.* http://other\..*`, "400", "not the host of the Host header"},
	{
		`target.* (/x-nmos/node/v1\.3/self%(2|zz)?|\*\*)`,
		"400",
		"the device's HTTP server says so before the device can ask",
	},
	{`target.* (http://|ftp://.*)`, "200", "HAProxy judges and serves the path, whatever the scheme and host"},
	{`method.* CONNECT .*`, "400", "CONNECT has another kind of target"},
	{`header with a delete`, "400", "the daemon's HTTP socket cannot read the question, nor the device the header"},
	{`header space before colon`, "400", "no name of a header"},
	{`body (of two lengths|of no length)`, "400", "HAProxy does not choose a body's length"},
	{`handshake no key`, "400", "no handshake for HAProxy"},
}
