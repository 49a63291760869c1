package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
)

// panelFiles are the page for a device's web interface, seen from where "make demo" runs.
const panelFiles = "platform/panel"

// servePanel serves the page as a maker's web server does, without its login, and passes what it asks for to the view
// socket.
func servePanel(socket string) (address string, stop func() error, err error) {
	if _, err := os.Stat(filepath.Join(panelFiles, "index.html")); err != nil {
		return "", nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	view := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "view"})
	view.FlushInterval = -1 // events are shown as they come
	view.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	mux := http.NewServeMux()
	mux.Handle("/view/", http.StripPrefix("/view", view))
	mux.Handle("/", http.FileServer(http.Dir(panelFiles)))
	server := &http.Server{Handler: mux}
	go server.Serve(l)
	return "http://" + l.Addr().String() + "/", server.Close, nil
}
