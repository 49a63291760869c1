package webserver_test

import (
	"os"
	"os/user"
	"path/filepath"
	"testing"
)

// startNginx runs nginx with the shipped files, word by word but for addresses and folders.
func startNginx(t *testing.T, r *rig, eventsToo bool) *front {
	return startNginxAs(t, r, eventsToo, "root") // the folder is this test's own
}

// startNginxAs is startNginx with a user for the processes that ask, if this test may choose one.
func startNginxAs(t *testing.T, r *rig, eventsToo bool, as string) *front {
	f := newFront(t, "nginx", "apt-get install nginx-light")
	f.copy("nginx/nmos-authd-http.conf", "unix:/run/nmos-authd/http.sock", "unix:"+r.http)
	f.copy("nginx/nmos-authd.conf", "/var/log/nginx/", f.dir+"/", "proxy_connect_timeout 1s", "proxy_connect_timeout "+askPatience,
		"_timeout    2s", "_timeout    "+askPatience)
	f.copy("nginx/nmos-authd-events.conf")
	server := []string{"listen 80 ", "listen " + f.addr + " ", "127.0.0.1:8080", r.behind, "include snippets/nmos-authd.conf",
		"include " + f.dir + "/nmos-authd.conf"}
	if f.passesEvents = eventsToo; eventsToo {
		server = append(server, "# include snippets/nmos-authd-events.conf", "include "+f.dir+"/nmos-authd-events.conf")
	}
	f.copy("nginx/server.conf", server...)
	if as = "user " + as + " " + group(t, as) + ";\n"; os.Getuid() != 0 {
		as = "" // nginx asks as the user of this test
	}
	f.write("nginx.conf", as+`daemon off;
worker_processes 2;
pid `+f.dir+`/nginx.pid;
error_log `+f.dir+`/error.log;
events { worker_connections 1024; }
http {
	access_log `+f.dir+`/access.log;
	client_body_temp_path `+f.dir+`/body;
	proxy_temp_path `+f.dir+`/proxy;
	fastcgi_temp_path `+f.dir+`/fastcgi;
	uwsgi_temp_path `+f.dir+`/uwsgi;
	scgi_temp_path `+f.dir+`/scgi;
	include `+f.dir+`/nmos-authd-http.conf;
	include `+f.dir+`/server.conf;
}
`)
	f.start("-e", filepath.Join(f.dir, "error.log"), "-p", f.dir, "-c", filepath.Join(f.dir, "nginx.conf"))
	return f
}

// group is the name of a user's group.
func group(t *testing.T, name string) string {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	g, err := user.LookupGroupId(u.Gid)
	if err != nil {
		t.Fatal(err)
	}
	return g.Name
}

// nginxDifferences are mostly requests that nginx refuses before it asks, because it cannot read them.
var nginxDifferences = []difference{
	{`TOK-5/(token-100-kb|payload-nested-200000-deep)`, "400", "more headers than large_client_header_buffers"},
	{`TOK-1/payload-(carriage-return|nul)`, "400", "a control character in a header, in other words"},
	{`TOK-1/payload-newline`, "401", "nginx ends a header at a bare line feed, too: it asks with half the token"},
	{`TOK-1/signature-carriage-return-after`, "200", "nginx takes a carriage return at the end of a header away"},
	{`target.* (/\.\./x-nmos/|/x-nmos/\.\./\.\./x-nmos|/x-nmos/node/v1\.3/self%(00|2|zz)?)`, "400", "no path for nginx"},
	{`target.* (\?x|x|\*\*?|@?nmos.*)`, "400", "no target for nginx"},
	{`target.* http:(//|/x-nmos|//node-1\.example\.com[?#]x|//user@.*)`, "400", "nor this"},
	{`target.* ftp://.*`, "200", "nginx does not look at the scheme: what is judged and served is the path"},
	{`method.* [Gg]et .*`, "400", "nginx knows methods in upper case only"},
	{`header with a delete`, "400", "the daemon's HTTP socket cannot read the question, nor the device the header"},
	{`header (twice.*|space before colon|folded)`, "400", "nginx takes one Authorization header, on one line"},
	{`body (of two lengths|of no length|with a length and chunked)`, "400", "nginx does not choose a body's length"},
}
