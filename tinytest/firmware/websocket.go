package firmware

import (
	"bufio"
	"context"
	"crypto/sha1" // RFC 6455 §4.2.2 demands it; nothing is kept secret by it
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// magic is RFC 6455's, §1.3.
const magic = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// farewell is how long the device waits for the client to close a WebSocket.
var farewell = 2 * time.Second

// isHandshake reports whether a request wants to open a WebSocket (RFC 6455 §4.2.1).
func isHandshake(r *http.Request) bool {
	return r.Method == http.MethodGet && hasToken(r.Header, "Connection", "upgrade") &&
		hasToken(r.Header, "Upgrade", "websocket")
}

// hasToken looks for a word in a header that is a list, in any case.
func hasToken(h http.Header, name, word string) bool {
	for _, value := range h.Values(name) {
		for item := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.Trim(item, " \t"), word) {
				return true
			}
		}
	}
	return false
}

// accept is the value of Sec-WebSocket-Accept for a key, "" for a key that is not 16 bytes in base64.
func accept(key string) string {
	if raw, err := base64.StdEncoding.DecodeString(key); err != nil || len(raw) != 16 {
		return ""
	}
	sum := sha1.Sum([]byte(key + magic))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// handshake asks for all sources of the socket in one request (PATH-12), opens it, sends one state and closes. Target
// is the handshake's, whose query may hold the token: it goes with the first source.
func (d *Device) handshake(w http.ResponseWriter, r *http.Request, target string) {
	_, query, hasQuery := strings.Cut(target, "?")
	lines := []string{"decide-all 1", "method=" + r.Method}
	for i, id := range Meters {
		line := "target=" + eventsAPI + "/sources/" + id
		if i == 0 && hasQuery {
			line += "?" + query
		}
		lines = append(lines, line)
	}
	lines = append(lines, credentials(r)...)
	standing := d.stand(lines, d.opt.Live)
	defer standing.close()
	if _, ok := d.settle(w, r, standing.reply, standing.err); !ok || !upgradable(w, r) {
		return
	}
	if d.opt.Live {
		d.live(w, r, standing)
		return
	}
	state, err := json.Marshal(d.model.state())
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	d.serveSocket(conn, buffered.Reader, accept(r.Header.Get("Sec-WebSocket-Key")), state)
}

// upgradable reports whether a handshake can be answered with 101, and answers it itself if not.
func upgradable(w http.ResponseWriter, r *http.Request) bool {
	if r.Header.Get("Sec-WebSocket-Version") != "13" {
		w.Header().Set("Sec-WebSocket-Version", "13") // RFC 6455 §4.4
		fail(w, http.StatusUpgradeRequired, "only version 13 of WebSocket is spoken here")
		return false
	}
	if accept(r.Header.Get("Sec-WebSocket-Key")) == "" {
		fail(w, http.StatusBadRequest, "Sec-WebSocket-Key is not 16 bytes in base64")
		return false
	}
	return true
}

// serveSocket answers the handshake, sends the state and the closing frame, and waits for the client to close.
func (d *Device) serveSocket(conn net.Conn, from *bufio.Reader, key string, state []byte) {
	defer conn.Close()
	var out []byte
	out = append(out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"...)
	out = append(out, "Sec-WebSocket-Accept: "+key+"\r\n\r\n"...)
	out = appendFrame(out, opText, state)
	out = appendFrame(out, opClose, binary.BigEndian.AppendUint16(nil, 1000)) // RFC 6455 §7.4.1: normal closure
	if conn.SetDeadline(time.Now().Add(farewell)) != nil {
		return
	}
	if _, err := conn.Write(out); err != nil {
		return
	}
	stop := context.AfterFunc(d.closing, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop() // the server's Close does not know of connections that were hijacked
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // closing with unread frames would reset the connection, and the client lose the state
	}
	_, _ = io.Copy(io.Discard, from)
}

// Opcodes of RFC 6455 §5.2.
const (
	opText  = 1
	opClose = 8
)

// appendFrame appends one whole frame, unmasked as a server's are (RFC 6455 §5.1).
func appendFrame(dst []byte, opcode byte, payload []byte) []byte {
	const final = 0x80
	dst = append(dst, final|opcode)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
	}
	return append(dst, payload...)
}
