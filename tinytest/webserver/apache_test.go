package webserver_test

import (
	"os"
	"path/filepath"
	"testing"
)

// startApache runs Apache with the shipped files, word by word but for addresses and folders.
func startApache(t *testing.T, r *rig) *front {
	return startApacheWith(t, r, func(script string) string { return script })
}

// startApacheWith is startApache for another script.
func startApacheWith(t *testing.T, r *rig, another func(string) string) *front {
	return runApache(t, r, another, "local own = {}", `local own = { ["`+events+`"] = true }`)
}

// apacheLines runs Apache with the script as it is.
func apacheLines(t *testing.T, r *rig) *front {
	return runApache(t, r, func(script string) string { return script })
}

// runApache has the site of the README in a bare apache2.conf.
func runApache(t *testing.T, r *rig, another func(string) string, replace ...string) *front {
	f := newFront(t, "apache2", "apt-get install apache2 lua-socket", "/usr/lib/apache2/modules/mod_lua.so",
		"/usr/lib/*/lua/5.3/socket/unix.so")
	f.keepsSpelling, f.passesEvents = true, len(replace) > 0
	f.copy(
		"apache/nmos-authd.lua",
		append(replace, "/run/nmos-authd/http.sock", r.http, "patience = 2 ", "patience = 8 ")...)
	f.rewrite("nmos-authd.lua", another)
	f.copy(
		"apache/nmos-authd.conf",
		"LuaQuickHandler /etc/apache2/",
		"LuaQuickHandler "+f.dir+"/",
		"/var/log/apache2/",
		f.dir+"/",
	)
	f.lines("apache/README.md", "site.conf", "*:80", f.addr, "/etc/apache2/", f.dir+"/", "127.0.0.1:8080", r.behind)
	user := "" // Apache asks as the user of this test
	if os.Getuid() == 0 {
		user = "User www-data\nGroup root\n" // Apache never serves as root; the sockets are for this group
		for _, dir := range []string{f.dir, r.dir.Path()} {
			if err := os.Chmod(dir, 0o711); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.write("apache2.conf", `ServerRoot `+f.dir+`
PidFile `+f.dir+`/apache2.pid
DefaultRuntimeDir `+f.dir+`
Listen `+f.addr+`
ErrorLog `+f.dir+`/main.error.log
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule lua_module /usr/lib/apache2/modules/mod_lua.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
`+user+`Include `+f.dir+`/site.conf
`)
	f.start("-D", "FOREGROUND", "-f", filepath.Join(f.dir, "apache2.conf"))
	return f
}

// apacheDifferences are mostly requests that Apache refuses before it asks.
var apacheDifferences = []difference{
	{`TOK-5/(token-100-kb|payload-nested-200000-deep)`, "400", "more headers than LimitRequestFieldSize"},
	{
		`TOK-1/(payload-(carriage-return|nul|newline)|signature-carriage-return-after)`,
		"400",
		"a control character, in other words",
	},
	{`target.* (x|\*\*|@?nmos.*|ftp://.*)|target (with token )?\*`, "400", "no target for Apache"},
	{
		`target.* /x-nmos/node/v1\.3/self(\?a=b)?#.*|handshake (token in a fragment|a fragment with dots.*)`,
		"400",
		"nor a fragment",
	},
	{`target.* http://(node-1\.example\.com#x|user@.*)`, "400", "nor these"},
	{
		`target.* (/x-nmos/node/v1\.3/self%(2|zz)?|\?x)`,
		"400",
		"the device's HTTP server says so before the device can ask",
	},
	{`target.* http://`, "200", "Apache judges and serves the path /"},
	{
		`target options (\*|http://node-1\.example\.com(\?x)?)`,
		"200",
		"Apache says itself what it can do, which is nothing of the device's",
	},
	{`method.* CONNECT .*`, "400", "CONNECT has another kind of target"},
	{`header with a delete`, "400", "a control character in a header"},
	{`header space before colon`, "400", "no name of a header"},
	{`body (of two lengths|of no length)`, "400", "Apache does not choose a body's length"},
}
