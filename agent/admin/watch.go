package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"nmosauthd/agent/audit"
	"nmosauthd/agent/httpauth"
)

const jsonLines = "application/x-ndjson"

// getRecords serves the records in memory: one, or the last.
func (s *socket) getRecords(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Has("last") {
		if filter, last, ok := wanted(w, r); ok {
			send(w, jsonLines, s.daemon.Last(last, filter.Match))
		}
		return
	}
	if line := s.one(w, r); line != nil {
		send(w, jsonText, append(line, '\n'))
	}
}

// one returns the line of the record whose number a request gives. It fails the request, and returns nil, if there is
// none.
func (s *socket) one(w http.ResponseWriter, r *http.Request) []byte {
	query := r.URL.Query()
	seq, err := strconv.ParseUint(query.Get("seq"), 10, 64)
	if err != nil || len(query) > 1 {
		httpauth.Fail(w, http.StatusBadRequest, "it takes ?seq= and the number of a decision, or what ?last= takes",
			"seq")
		return nil
	}
	line, ok := s.daemon.Record(seq)
	if !ok {
		text := "the daemon remembers no decision yet"
		if first, last := s.daemon.Remembered(); last > 0 {
			text = fmt.Sprintf("the daemon remembers decisions %d to %d", first, last)
		}
		httpauth.Fail(w, http.StatusNotFound, text, "not-found")
		return nil
	}
	return line
}

// watch sends the last records in memory, then others as they are made, until the caller hangs up or the daemon stops.
func (s *socket) watch(w http.ResponseWriter, r *http.Request) {
	watcher := s.watcher(w, r)
	if watcher == nil {
		return
	}
	defer watcher.Close()
	w.Header().Set("Content-Type", jsonLines)
	out, stop := httpauth.Stream(w, r)
	defer stop()
	for lines, more := []byte(nil), true; more; lines, more = watcher.Next(r.Context()) {
		if _, err := out.Write(lines); err != nil {
			return
		}
	}
}

// watcher returns what gives the records that a request asks for. It fails the request, and returns nil, if too many
// watch or the request makes no sense.
func (s *socket) watcher(w http.ResponseWriter, r *http.Request) *audit.Watcher {
	filter, last, ok := wanted(w, r)
	if !ok {
		return nil
	}
	watcher := s.daemon.Watch(last, filter.Match)
	if watcher == nil {
		tooMany(w, audit.MaxWatchers)
	}
	return watcher
}

func tooMany(w http.ResponseWriter, most int) {
	busy(w, "1", "too many are watching", strconv.Itoa(most)+" at most")
}

// wanted reads which records a request asks for. It fails the request if that makes no sense.
func wanted(w http.ResponseWriter, r *http.Request) (f audit.Filter, last int, ok bool) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	for name, values := range query {
		value := values[len(values)-1]
		var wrong error
		switch name {
		case "last":
			if last, wrong = strconv.Atoi(value); last < 0 {
				wrong = strconv.ErrRange
			}
		case "denied":
			f.Denied, wrong = strconv.ParseBool(value)
		case "client":
			f.Client = value
		case "path":
			f.Path = value
		default:
			wrong = fmt.Errorf("unknown parameter %q", name)
		}
		if wrong != nil {
			err = wrong
		}
	}
	if err != nil {
		httpauth.Fail(w, http.StatusBadRequest, "it takes ?last=N, denied=true, client=PATTERN and path=PATTERN",
			err.Error())
	}
	return f, last, err == nil
}
