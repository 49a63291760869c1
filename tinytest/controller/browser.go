package controller

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

// callback is where the person's browser comes back to.
type callback struct {
	url     string
	server  *http.Server
	serving sync.WaitGroup

	mu   sync.Mutex
	back chan<- url.Values // nil if nobody is expected
}

// callbackPath is what is registered; nothing else is answered.
const callbackPath = "/signed-in"

func listen() (*callback, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &callback{url: "http://" + l.Addr().String() + callbackPath}
	c.server = &http.Server{
		Handler: http.HandlerFunc(c.serve), ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
	}
	c.serving.Go(func() { _ = c.server.Serve(l) })
	return c, nil
}

func (c *callback) close() error {
	err := c.server.Close()
	c.serving.Wait()
	return err
}

// expect returns where the values of the next answer come.
func (c *callback) expect() <-chan url.Values {
	c.mu.Lock()
	defer c.mu.Unlock()
	back := make(chan url.Values, 1)
	c.back = back
	return back
}

func (c *callback) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	back := c.back
	c.back = nil
	c.mu.Unlock()
	if r.URL.Path != callbackPath || r.Method != http.MethodGet || back == nil {
		http.NotFound(w, r)
		return
	}
	back <- r.URL.Query()
	_, _ = io.WriteString(w, "You may close this window.\n")
}

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	formHidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// browse is the person before the browser: opens a page, fills in the form, and is sent back to the controller.
func (c *Controller) browse(ctx context.Context, to string) error {
	var form url.Values // nil: a page is asked for
	for range 5 {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, to, nil)
		if form != nil {
			request, err = http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(form.Encode()))
		}
		if err != nil {
			return err
		}
		if form != nil {
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		response, err := c.client.Do(request)
		if whole := (*url.Error)(nil); errors.As(err, &whole) {
			return fmt.Errorf("controller: sign in at %s: %w", request.URL.Host, whole.Err) // its URL may hold a code
		}
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
		response.Body.Close()
		if err != nil {
			return err
		}
		at := response.Request.URL
		action := formAction.FindSubmatch(text)
		switch {
		case response.StatusCode == http.StatusFound || response.StatusCode == http.StatusSeeOther:
			next, err := at.Parse(response.Header.Get("Location"))
			if err != nil {
				return err
			}
			to, form = next.String(), nil
		case strings.HasPrefix(at.String(), c.callback.url):
			return nil
		case response.StatusCode != http.StatusOK || action == nil || form != nil:
			return &RefusedError{"sign in at " + at.Scheme + "://" + at.Host + at.Path,
				response.StatusCode, paragraph(text)}
		default:
			next, err := at.Parse(html.UnescapeString(string(action[1])))
			if err != nil {
				return err
			}
			if next.Scheme != "https" || next.Host != at.Host {
				return fmt.Errorf("controller: the form would take the password to %s", next.Host)
			}
			to, form = next.String(), url.Values{"decision": {"allow"}}
			if c.opt.Person.Deny {
				form.Set("decision", "deny")
			}
			for _, hidden := range formHidden.FindAllSubmatch(text, -1) {
				form.Set(html.UnescapeString(string(hidden[1])), html.UnescapeString(string(hidden[2])))
			}
			form.Set("username", c.opt.Person.Name)
			form.Set("password", c.opt.Person.Password)
		}
	}
	return errors.New("controller: the browser is sent from page to page")
}

var firstParagraph = regexp.MustCompile(`<p>([^<]*)`)

// paragraph is what a page says first.
func paragraph(page []byte) string {
	if found := firstParagraph.FindSubmatch(page); found != nil {
		return html.UnescapeString(string(found[1]))
	}
	return ""
}
