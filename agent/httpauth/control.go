package httpauth

import (
	"errors"
	"net/http"

	"nmosauthd/agent/wire"
)

// ControlPath is the path to which questions about commands are posted: the decision socket's packet "control 1" as the
// body, and its reply as that of the answer (CTL-80).
const ControlPath = "/control"

// takesBody reports whether a request's body is read: only that of a question about commands is.
func takesBody(r *http.Request) bool { return r.URL.Path == ControlPath && r.Method == http.MethodPost }

func (h *handler) control(w http.ResponseWriter, r *http.Request) {
	if !takesBody(r) {
		w.Header().Set("Allow", http.MethodPost)
		Fail(w, http.StatusMethodNotAllowed, "questions about commands are posted", "")
		return
	}
	var reply *wire.Reply
	if fault := h.read(w, r); fault != wire.Undecided {
		reply = h.session.Refuse(fault)
		reply.ID, reply.Detail = h.request.ID, h.request.Missing
	} else {
		reply = h.session.Ask(&h.request)
	}
	setHeaders(w.Header(), reply)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(reply.Status())
	h.reply = reply.Append(h.reply[:0])
	w.Write(h.reply)
}

// read reads the body into h.request. It is bounded as a packet is (CTL-85).
func (h *handler) read(w http.ResponseWriter, r *http.Request) (fault wire.Reason) {
	limit := h.session.PacketLimit()
	h.request = wire.Request{Targets: h.request.Targets, Commands: h.request.Commands}
	h.packet.Reset()
	if r.ContentLength > int64(limit) {
		w.Header().Set("Connection", "close") // what is too long is not waited for
		return wire.PacketTooLong
	}
	if _, err := h.packet.ReadFrom(http.MaxBytesReader(w, r.Body, int64(limit))); err != nil {
		w.Header().Set("Connection", "close")
		if long := (*http.MaxBytesError)(nil); errors.As(err, &long) {
			return wire.PacketTooLong
		}
		return wire.PacketForm // cut off, or not in the form of HTTP
	}
	if fault = h.request.Parse(h.packet.Bytes(), limit); fault == wire.Undecided && h.request.Verb != wire.Control {
		return wire.PacketVerb
	}
	return fault
}
