package httpauth

import (
	"errors"
	"net/http"

	"nmosauthd/agent/wire"
)

// ControlPath is the path to which questions about commands are posted: the decision socket's packet "control 1" as the
// body, and its reply as that of the answer (CTL-80).
const ControlPath = "/control"

// PacketPath is the path to which any question is posted in the same way, for languages that have no SOCK_SEQPACKET.
// The device's own tokens are not to be had there (CLI-69), and no question is left standing.
const PacketPath = "/packet"

// takesPackets reports whether questions are posted to path.
func takesPackets(path string) bool { return path == ControlPath || path == PacketPath }

// takesBody reports whether a request's body is read: only that of a packet is.
func takesBody(r *http.Request) bool { return takesPackets(r.URL.Path) && r.Method == http.MethodPost }

// takes reports whether v is asked at path.
func takes(path string, v wire.Verb) bool {
	return v == wire.Control || path == PacketPath && v != wire.Token && v != wire.WatchToken
}

func (h *handler) answerPacket(w http.ResponseWriter, r *http.Request) {
	if !takesBody(r) {
		set(w, "Allow", http.MethodPost)
		Fail(w, http.StatusMethodNotAllowed, "packets are posted", "")
		return
	}
	var reply *wire.Reply
	if fault := h.read(w, r); fault != wire.Undecided {
		reply = h.session.Refuse(fault)
		reply.ID, reply.Detail = h.request.ID, h.request.Fault
	} else {
		reply = h.session.Ask(&h.request)
	}
	setHeaders(w, reply)
	set(w, "Content-Type", "text/plain; charset=utf-8")
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
		set(w, "Connection", "close") // what is too long is not waited for
		return wire.PacketTooLong
	}
	if _, err := h.packet.ReadFrom(http.MaxBytesReader(w, r.Body, int64(limit))); err != nil {
		set(w, "Connection", "close")
		if long := (*http.MaxBytesError)(nil); errors.As(err, &long) {
			return wire.PacketTooLong
		}
		return wire.PacketForm // cut off, or not in the form of HTTP
	}
	if fault = h.request.Parse(h.packet.Bytes(), limit); fault == wire.Undecided && !takes(r.URL.Path, h.request.Verb) {
		return wire.PacketVerb
	}
	return fault
}
