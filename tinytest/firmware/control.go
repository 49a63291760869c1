package firmware

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"nmosauthd/tinytest/devicemodel"
)

// packetLimit is how long a question may be, in bytes.
const packetLimit = 32 << 10

// request is what one command or subscription asks for: the objects that it reaches. Without a method it is a
// subscription.
type request struct {
	class   string
	method  devicemodel.ID
	objects []*devicemodel.Object
}

// lines are the request's in the question, each with the words that would deny it in the answer. The handle is ours:
// a controller may use one twice.
func (q request) lines(handle int) (lines, denials []string) {
	for _, o := range q.objects {
		if q.method == (devicemodel.ID{}) {
			lines = append(lines, "subscribe="+o.Path)
			denials = append(denials, "subscribe "+o.Path+" ")
		} else {
			lines = append(lines, fmt.Sprintf("command=%d %s %s %s", handle, q.class, q.method.Method(), o.Path))
			denials = append(denials, fmt.Sprintf("command %d ", handle))
		}
	}
	return lines, denials
}

// permit asks about all requests of one message before any of them is carried out. It returns what to answer to each:
// OK, Unauthorized or NotReady (CTL-25, CTL-30); and the first reply that was not allow. A request of several lines is
// allowed if all of them are (CTL-82), also if they do not fit into one packet (CTL-85).
func (d *Device) permit(api, authorization string, requests []request) ([]devicemodel.Status, Reply) {
	head := []string{"control 1", "api=" + api}
	if authorization != "" {
		head = append(head, "authorization="+authorization)
	}
	room := packetLimit - len(strings.Join(head, "\n")) - len("\nid=18446744073709551615\n")
	answers := make([]devicemodel.Status, len(requests))
	for i := range answers {
		answers[i] = devicemodel.OK
	}
	refused := Reply{Verdict: Allow, Status: http.StatusOK}
	var packet, denials []string
	var whose []int // the request of each line
	size := 0
	ask := func() {
		reply, err := d.question(append(append([]string{}, head...), packet...))
		if err != nil {
			d.logf("commands: 503: %v", err)
			reply = Reply{Verdict: Deny, Status: http.StatusServiceUnavailable}
		} else {
			d.logf("commands: %s %d %s, of %d lines denied: %q",
				reply.Verdict, reply.Status, reply.Reason, len(packet), reply.Denied)
		}
		if refused.Allowed() {
			refused = reply
		}
		for n, words := range denials {
			if status := verdict(reply, words); answers[whose[n]] != devicemodel.NotReady && status != devicemodel.OK {
				answers[whose[n]] = status
			}
		}
		packet, denials, whose, size = nil, nil, nil, 0
	}
	for i, q := range requests {
		lines, words := q.lines(i + 1)
		for n, line := range lines {
			if size > 0 && size+len(line)+1 > room {
				ask()
			}
			packet, denials, whose, size = append(packet, line), append(denials, words[n]), append(whose, i),
				size+len(line)+1
		}
	}
	if size > 0 {
		ask()
	}
	return answers, refused
}

// verdict is what a reply says of the line that these words would deny. NcMethodStatus has no 403 (CTL-25).
func verdict(reply Reply, words string) devicemodel.Status {
	status := reply.Status
	switch {
	case reply.Allowed():
		return devicemodel.OK
	case reply.Verdict != Deny:
		return devicemodel.NotReady
	case len(reply.Denied) > 0 && reply.Denied[0] != "*":
		denied := false
		for _, one := range reply.Denied {
			if rest, ok := strings.CutPrefix(one, words); ok {
				number, _, _ := strings.Cut(rest, " ")
				status, _ = strconv.Atoi(number)
				denied = true
			}
		}
		if !denied {
			return devicemodel.OK
		}
	}
	if status == http.StatusServiceUnavailable {
		return devicemodel.NotReady
	}
	return devicemodel.Unauthorized
}

// refusals are the texts for people.
var refusals = map[devicemodel.Status]string{
	devicemodel.Unauthorized: "the token does not permit this",
	devicemodel.NotReady:     "permission cannot be asked for just now",
}
