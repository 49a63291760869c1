package firmware

import "net/http"

// Behind serves what a web server in front of the device has asked about already, and passes on with the X-Auth-*
// headers of the daemon's answer: it routes on X-Auth-Path, and does not ask again. Only that web server may reach it.
//
// Two things are asked here all the same: a request without X-Auth-Reason, which nobody has asked about, and the
// handshake of the WebSocket, whose sources the web server does not know (PATH-12).
func (d *Device) Behind() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Auth-Reason") == "" {
			d.ServeHTTP(w, r)
			return
		}
		if !d.enter() {
			return
		}
		defer d.serving.Done()
		w.Header().Set("Access-Control-Allow-Origin", "*")
		d.serve(w, r, originForm(r.RequestURI), r.Header.Get("X-Auth-Path"))
	})
}
