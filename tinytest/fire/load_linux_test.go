package fire_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// probe is a question, and the answers that it may get while a fault lasts: "200 ok|503 keys-pending".
type probe struct {
	Name, Method, Target, Token string
	Want                        string
}

func (q probe) bytes(http bool) []byte {
	bearer := ""
	if http {
		if q.Token != "" {
			bearer = "Authorization: Bearer " + q.Token + "\r\n"
		}
		return []byte("GET /authorize HTTP/1.1\r\nHost: daemon\r\nX-Original-Method: " + q.Method +
			"\r\nX-Original-URI: " + q.Target + "\r\n" + bearer + "\r\n")
	}
	if q.Token != "" {
		bearer = "authorization=Bearer " + q.Token + "\n"
	}
	return []byte("decide 1\nmethod=" + q.Method + "\ntarget=" + q.Target + "\n" + bearer)
}

func (q probe) met(answer string) bool { return strings.Contains("|"+q.Want+"|", "|"+answer+"|") }

// outcome is what came of the questions that one part of the load asked.
type outcome struct {
	Sent, Answered int
	Writes         int            // answered: allowed, and may change the device
	Wrong          map[string]int // answers that a question must not get, by both
	Denied         int            // questions without an answer, which is 503 to whoever asked
	Longest        time.Duration  // for which there was none
}

func (o *outcome) add(more outcome) {
	o.Sent, o.Answered, o.Denied = o.Sent+more.Sent, o.Answered+more.Answered, o.Denied+more.Denied
	o.Writes += more.Writes
	o.Longest = max(o.Longest, more.Longest)
	for what, n := range more.Wrong {
		if o.Wrong == nil {
			o.Wrong = map[string]int{}
		}
		o.Wrong[what] += n
	}
}

// load asks one question after another over several connections until standard input ends, as a web server or firmware
// does: an answer that does not come is a denial, and a connection that has ended is made again and the question
// repeated once (agent/wire/PROTOCOL.md).
func load(p part) outcome {
	var stop atomic.Bool
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop.Store(true)
	}()
	var all outcome
	var mu sync.Mutex
	var connections sync.WaitGroup
	for n := range p.Connections {
		connections.Go(func() {
			var mine outcome
			c := client{p: p, out: &mine}
			defer c.drop()
			var since time.Time // of the first question in a row without an answer
			for i := n; !stop.Load(); i++ {
				q := p.Probes[i%len(p.Probes)]
				answer, err := c.ask(q.bytes(p.HTTP))
				switch {
				case err != nil && since.IsZero():
					since = time.Now()
					fallthrough
				case err != nil:
					mine.Denied++
				case !q.met(answer):
					mine.add(outcome{Wrong: map[string]int{q.Name + ": " + answer: 1}})
				}
				if q.Method == "PATCH" && answer == "200 ok" {
					mine.Writes++
				}
				if err == nil && !since.IsZero() {
					mine.Longest = max(mine.Longest, time.Since(since))
					since = time.Time{}
				}
				time.Sleep(p.Pause)
			}
			mu.Lock()
			defer mu.Unlock()
			all.add(mine)
		})
	}
	connections.Wait()
	return all
}

// client keeps a connection.
type client struct {
	p   part
	out *outcome
	c   *peer
}

func (c *client) drop() {
	if c.c != nil {
		c.c.conn.Close()
		c.c = nil
	}
}

func (c *client) ask(question []byte) (string, error) {
	kept := c.c != nil
	answer, err := c.try(question)
	if kept && (errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)) {
		answer, err = c.try(question)
	}
	return answer, err
}

func (c *client) try(question []byte) (answer string, err error) {
	if c.c == nil {
		if c.c, err = c.p.dial(); err != nil {
			c.c = nil
			return "", err
		}
	}
	c.out.Sent++
	if answer, err = c.c.ask(question); err != nil {
		c.drop()
		return "", err
	}
	c.out.Answered++
	return answer, nil
}

// dialOnly connects and asks nothing. If many do so together the kernel may say that it cannot take another now.
func dialOnly(network, socket string) (conn net.Conn, err error) {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		conn, err = net.Dial(network, socket)
		if !errors.Is(err, syscall.EAGAIN) || time.Now().After(end) {
			return conn, err
		}
	}
}
