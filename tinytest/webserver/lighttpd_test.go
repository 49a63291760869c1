package webserver_test

import (
	"net"
	"path/filepath"
	"testing"
)

// startLighttpd runs lighttpd with the shipped files, word by word but for addresses and folders.
func startLighttpd(t *testing.T, r *rig) *front {
	return startLighttpdWith(t, r, func(script string) string { return script })
}

// debianParseopts is what Debian's lighttpd.conf says before its includes: would have lighttpd rewrite targets.
const debianParseopts = `server.http-parseopts = (
	"header-strict" => "enable", "host-strict" => "enable", "host-normalize" => "enable",
	"url-normalize-unreserved" => "enable", "url-normalize-required" => "enable", "url-ctrls-reject" => "enable",
	"url-path-2f-decode" => "enable", "url-path-dotseg-remove" => "enable",
)
`

// startLighttpdWith is startLighttpd for another script.
func startLighttpdWith(t *testing.T, r *rig, another func(string) string) *front {
	f, host, port := newLighttpd(t, r, "local own = {}", `local own = { ["`+events+`"] = true }`)
	f.passesEvents = true
	f.rewrite("nmos-authd.lua", another)
	f.write("lighttpd.conf", `server.document-root = "`+f.dir+`"
server.bind = "`+host+`"
server.port = `+port+`
server.errorlog = "`+f.dir+`/error.log"
server.upload-dirs = ( "`+f.dir+`" )
accesslog.filename = "`+f.dir+`/access.log"
`+debianParseopts+`include "`+f.dir+`/nmos-authd.conf"
`)
	f.start("-D", "-f", filepath.Join(f.dir, "lighttpd.conf"))
	return f
}

// newLighttpd has what is shipped in its folder, and where lighttpd is to listen.
func newLighttpd(t *testing.T, r *rig, replace ...string) (f *front, host, port string) {
	f = newFront(t, "lighttpd", "apt-get install lighttpd lighttpd-modules-lua lua-luv",
		"/usr/lib*/lighttpd/mod_magnet.so", "/usr/lib/*/lua/5.4/luv.so")
	f.copy("lighttpd/nmos-authd.lua", append(replace, "/run/nmos-authd/http.sock", r.http,
		"patience = 500 ", "patience = 8000 ")...) // askPatience
	host, port, err := net.SplitHostPort(r.behind)
	if err != nil {
		t.Fatal(err)
	}
	f.copy("lighttpd/nmos-authd.conf", `"127.0.0.1", "port" => 8080`, `"`+host+`", "port" => `+port,
		"/etc/lighttpd/nmos-authd.lua", f.dir+"/nmos-authd.lua", "/var/log/lighttpd/", f.dir+"/")
	if host, port, err = net.SplitHostPort(f.addr); err != nil {
		t.Fatal(err)
	}
	return f, host, port
}

// lighttpdLines runs lighttpd with the lines of its README alone.
func lighttpdLines(t *testing.T, r *rig) *front {
	f, host, port := newLighttpd(t, r)
	f.lines("lighttpd/README.md", "lighttpd.conf", "/var/www/html", f.dir, "server.port = 80",
		`server.bind = "`+host+"\"\nserver.port = "+port, "/var/log/lighttpd/", f.dir+"/",
		"/var/cache/lighttpd/uploads", f.dir, "/etc/lighttpd/", f.dir+"/")
	f.start("-D", "-f", filepath.Join(f.dir, "lighttpd.conf"))
	return f
}

// lighttpdDifferences are mostly requests that lighttpd refuses before it asks.
var lighttpdDifferences = []difference{
	{`TOK-5/(token-100-kb|payload-nested-200000-deep)`, "431", "more headers than server.max-request-field-size"},
	{`TOK-1/(payload-(carriage-return|nul|newline)|signature-carriage-return-after)`,
		"400", "a control character in a header"},
	{`target.* (\?x|x|\*\*|@?nmos.*|http:/x-nmos|http://|ftp://.*)`, "400", "no target for lighttpd"},
	{`target (with token )?\*`, "400", "only OPTIONS has this target"},
	{`target options \*`, "200", "lighttpd says itself what it can do, which is nothing of the device's"},
	{`target.* http://node-1\.example\.com([?#]x)?`, "400", "lighttpd wants a path"},
	{`target.* http://(user@|other\.).*`, "400", "not the host of the Host header"},
	{`target.* /x-nmos/node/v1\.3/self%(2|zz)?`, "400", "the device's HTTP server says so before the device can ask"},
	{`method with (body|token) (GET|HEAD) .*|body of a GET`, "400", "a GET has no body here"},
	{`method POST .*|handshake by POST`, "411", "a POST has a length here"},
	{`method.* ([Gg]et|PATCHX|M-SEARCH) .*`, "501", "lighttpd knows the methods of HTTP and WebDAV only"},
	{`handshake asked for .*of two protocols`, "401",
		"lighttpd takes the offer of h2c for itself, so that no handshake is left"},
	{`header with a delete`, "400", "a control character in a header"},
	{`header space before colon`, "400", "no name of a header"},
	{`body (of two lengths|of no length|with a length and chunked)`, "400", "lighttpd does not choose a body's length"},
}
