package webserver_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// startTraefik runs Traefik with the lines of the README and the shipped files, word by word but for addresses and
// folders.
func startTraefik(t *testing.T, r *rig) *front {
	f := newFront(t, "traefik", "put Traefik 3.7 into PATH; see configs/traefik/README.md")
	f.keepsSpelling, f.passesTrailers, f.judgesKeys, f.exposesAll, f.unasked = true, true, true, true, 500
	if err := os.Mkdir(filepath.Join(f.dir, "nmos"), 0o755); err != nil {
		t.Fatal(err)
	}
	f.copy("traefik/traefik.yml", `":80"`, `"`+f.addr+`"`, "/etc/traefik/", f.dir+"/")
	f.copy("traefik/nmos-authd.yml", "http://127.0.0.1:8010", "http://"+r.overTCP())
	f.lines("traefik/README.md", "node.yml", "http://127.0.0.1:8080", "http://"+r.behind)
	for _, name := range []string{"nmos-authd.yml", "node.yml"} {
		if err := os.Rename(filepath.Join(f.dir, name), filepath.Join(f.dir, "nmos", name)); err != nil {
			t.Fatal(err)
		}
	}
	f.start("--configFile=" + filepath.Join(f.dir, "traefik.yml"))
	eventually(t, "Traefik has read its routers",
		func() bool { return r.send(f.addr, get("/x-nmos/"), t).status != 404 })
	r.take()
	return f
}

// overTCP does what socat is told to in nmos-authd.yml, and returns its address.
func (r *rig) overTCP() string {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { l.Close() })
	socket := r.http
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer from.Close()
				to, err := net.Dial("unix", socket)
				if err != nil {
					return
				}
				go func() {
					defer to.Close()
					io.Copy(to, from)
				}()
				io.Copy(from, to)
			}()
		}
	}()
	return l.Addr().String()
}

// traefikDifferences come from Traefik's reading the target before it asks.
var traefikDifferences = []difference{
	{`TOK-5/(token-100-kb)`, "431", "the daemon's HTTP socket says so"},
	{`TOK-5/payload-nested-200000-deep`, "431|500", "the same, or Traefik finds the connection closed"},
	{`target.* /x-nmos/node/v1\.3/self#.*|handshake (token in a fragment|a fragment with dots.*)`, "400",
		"Traefik takes no fragment"},
	{`target.* /x-nmos/node/v1\.3/é`, "200|401|404", "Traefik judges and hands over %C3%A9"},
	{`target.* (http:/x-nmos|ftp://.*)`, "200", "Traefik judges and serves the path, whatever the scheme and host"},
	{`target.* http://(node-1\.example\.com(\?x)?)?|target (with token )?\*`, "404", "no path that a router has"},
	{`target options \*`, "200", "Traefik says itself what it can do, which is nothing of the device's"},
	{`handshake for the sources? only`, "403", "Traefik asks for the socket's own path"},
	{`handshake asked for of two protocols`, "426", "Traefik passes on websocket alone"},
}
