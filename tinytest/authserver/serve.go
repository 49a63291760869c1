package authserver

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"nmosauthd/tinytest/misbehave"
)

// answer is a whole response.
type answer struct {
	status int
	header map[string]string
	body   []byte
}

func jsonAnswer(body []byte) answer {
	return answer{http.StatusOK, map[string]string{"Content-Type": "application/json"}, body}
}

func textAnswer(status int, text string) answer {
	return answer{status, map[string]string{"Content-Type": "text/plain; charset=utf-8"}, []byte(text + "\n")}
}

// serve answers one request, by the fault that is set for its path.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	path := s.logical(r.URL.Path)
	fault := s.take(path)
	if !s.record(r, path, fault) {
		return
	}
	defer s.serving.Done()
	w.Header().Set("Date", time.Now().Add(s.opt.Date).UTC().Format(http.TimeFormat))
	s.logf("%s %s: %s", r.Method, r.URL.Path, or(string(fault), "as it should be"))
	s.waitHeld(r, path)
	switch fault {
	case Hang:
		misbehave.Hang(r, s.closing)
	case RegisterLost:
		s.document(r, path, "")
		s.resetRequest(w)
	case Reset:
		s.resetRequest(w)
	case BodyEndless:
		s.endless(w, r)
	case Drip:
		s.drip(w, r, s.document(r, path, ""))
	case Half:
		a := s.document(r, path, "")
		length := len(a.body)
		a.body = a.body[:length/2]
		a.write(w, length)
	default:
		a := s.spoil(r, s.document(r, path, fault), fault)
		a.write(w, len(a.body))
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// write sends the answer with a Content-Length that need not be right.
func (a answer) write(w http.ResponseWriter, length int) {
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the client may be gone: its affair
}

// document is what the path answers. A fault of another scope changes nothing in it.
func (s *Server) document(r *http.Request, path string, fault Fault) answer {
	switch path {
	case PathMetadata:
		return jsonAnswer(s.metadata(fault))
	case PathMetadata + "/":
		if s.opt.AtRoot {
			return jsonAnswer(s.metadata(fault))
		}
	case PathJWKS:
		return jsonAnswer(s.jwks(fault))
	case PathToken:
		return s.token(r, fault)
	case PathRegister:
		return s.register(r, fault)
	case PathClient:
		return s.manage(r)
	case PathRevoke:
		return s.revoke(r)
	case PathAuthorize:
		return s.authorize(r, fault)
	case PathSignIn:
		return s.signIn(r)
	}
	if rest, ok := strings.CutPrefix(path, PathElsewhere); ok {
		return s.elsewhere(rest)
	}
	if rest, ok := strings.CutPrefix(path, "/admin/"); ok && s.opt.Admin {
		return s.admin(r, rest)
	}
	return textAnswer(http.StatusNotFound, "nothing here")
}

// spoil applies the faults that leave a whole response.
func (s *Server) spoil(r *http.Request, a answer, fault Fault) answer {
	redirect := func(to string) answer {
		return answer{http.StatusFound, map[string]string{"Location": to}, nil}
	}
	switch fault {
	case HTML:
		return answer{http.StatusOK, map[string]string{"Content-Type": "text/html; charset=utf-8"},
			[]byte("<!DOCTYPE html><title>Sign in</title><p>Please accept the terms of the guest network.")}
	case Unauthorized:
		return answer{http.StatusUnauthorized, map[string]string{"Content-Type": "text/html; charset=utf-8"},
			[]byte("<!DOCTYPE html><title>401</title><p>Authorization required.")}
	case NotFound:
		return textAnswer(http.StatusNotFound, "not found")
	case ServerError:
		return textAnswer(http.StatusInternalServerError, "something broke")
	case Unavailable:
		a = textAnswer(http.StatusServiceUnavailable, "come back later")
		a.header["Retry-After"] = "1"
	case RedirectHTTP:
		return redirect("http" + strings.TrimPrefix(s.URL(), "https") + r.URL.RequestURI())
	case RedirectOther:
		return redirect(s.otherURL() + PathElsewhere + r.URL.RequestURI())
	case RedirectLoop:
		return redirect(s.URL() + r.URL.RequestURI())
	case BodyBroken:
		a.body = a.body[:len(a.body)/2]
	case BodyDuplicates:
		a.body = doubled(a.body)
	case BodyEmpty:
		a.body = nil
	case BodyNull:
		a.body = []byte("null")
	case BodyHuge:
		a.body = huge(a.body)
	case GzipGarbage:
		a.header["Content-Encoding"] = "gzip"
		a.body = []byte("this was never compressed")
	case GzipBomb:
		a.header["Content-Encoding"] = "gzip"
		a.body = packed(huge(a.body))
	}
	return a
}

// doubled gives every member of an object a second time, with its value in an array: a reader that takes the last one
// sees another document than one that takes the first.
func doubled(object []byte) []byte {
	var members map[string]json.RawMessage
	if json.Unmarshal(object, &members) != nil {
		return object
	}
	out := bytes.TrimSuffix(bytes.TrimSpace(object), []byte("}"))
	out = bytes.Clone(out)
	for name, value := range members {
		out = append(out, ",\""+name+"\":["+string(value)+"]"...)
	}
	return append(out, '}')
}

// huge adds a member of HugeBody bytes before the others.
func huge(object []byte) []byte {
	rest := bytes.TrimPrefix(object, []byte("{"))
	out := make([]byte, 0, HugeBody+len(object)+32)
	out = append(out, `{"x-fill":"`...)
	out = append(out, bytes.Repeat([]byte("x"), HugeBody)...)
	out = append(out, `",`...)
	return append(out, rest...)
}

func packed(body []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(body) // a Buffer never fails
	_ = z.Close()
	return b.Bytes()
}

// Hold has the requests for a path wait until release is called, or the client gives up.
func (s *Server) Hold(path string) (release func()) {
	held := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[path] = held
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.held, path)
		close(held)
	})
}

func (s *Server) waitHeld(r *http.Request, path string) {
	s.mu.Lock()
	held := s.held[path]
	s.mu.Unlock()
	if held == nil {
		return
	}
	select {
	case <-held:
	case <-r.Context().Done():
	case <-s.closing:
	}
}

// resetRequest ends the connection with RST.
func (s *Server) resetRequest(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	misbehave.Reset(conn)
}

// endless sends chunk after chunk of a string that never ends.
func (s *Server) endless(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if _, err := io.WriteString(w, `{"x-fill":"`); err == nil {
		misbehave.Endless(w, r, bytes.Repeat([]byte("x"), 16<<10), s.closing)
	}
}

// drip sends the right answer, one byte at a time.
func (s *Server) drip(w http.ResponseWriter, r *http.Request, a answer) {
	body := a.body
	a.body = nil
	a.write(w, len(body))
	misbehave.Drip(w, r, body, s.opt.Drip, s.closing)
}
