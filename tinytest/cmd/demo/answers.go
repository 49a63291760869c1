package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/studio"
)

// device is the pretend device's name in the tokens.
const device = studio.DeviceHost

// The resources of the story.
const (
	senders = "/x-nmos/connection/v1.1/single/senders"
	staged  = "/x-nmos/connection/v1.1/single/receivers/" + firmware.Receiver1ID + "/staged"
	meter   = "/x-nmos/events/v1.0/sources/" + firmware.MeterSourceID + "/state"
)

// What the tokens of the story grant.
var (
	routing = mint.Options{Device: device, Client: "controller", Permissions: map[string]mint.Permission{
		"connection": {Read: []string{"*"}, Write: []string{"single/*"}},
	}}
	readOnly = mint.Options{Device: device, Client: "multiviewer", Permissions: map[string]mint.Permission{
		"connection": {Read: []string{"*"}},
	}}
	meters = mint.Options{Device: device, Client: "loudness-display", Permissions: map[string]mint.Permission{
		"events": {Read: []string{"sources/*"}},
	}}
	elsewhere = mint.Options{Device: "stagebox-2.studio.example", Client: "controller"}
	old       = mint.Options{Device: device, Client: "controller", Now: time.Now().Add(-2 * time.Hour)}
)

// step is one line of the story: a request to the device's APIs or, if the method is read or write, a command of its
// front panel, whose target is the kind and the name of a resource, and body what to write.
type step struct {
	method, target, body string
	token                string // its name in the output
	bearer               string
	want                 string // "200 ok"
	once                 bool   // the answer changes with time, so it is not asked again for the second figure
}

// forged changes one bit of a token's signature.
func forged(token string) string {
	dot := strings.LastIndexByte(token, '.')
	sig, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil {
		panic(err) // it was minted a moment ago
	}
	sig[0] ^= 1
	return token[:dot+1] + base64.RawURLEncoding.EncodeToString(sig)
}

// answers asks the device with tokens of every kind, and shows what its daemon answers and how long asking took.
func (s *stage) answers(ctx context.Context) error {
	good := s.Server.Token(routing).Sign()
	const patch = `{"master_enable":true}`
	say("On the right: how long its firmware waited for the answer, the first time and again.")
	printRow("asked of the stage box", "with token", "answer and reason", "first", "again")
	err := s.steps(ctx, []step{
		{"GET", "/x-nmos/", "", "none", "", "200 public", false},
		{"GET", senders, "", "none", "", "401 no-token", false},
		{"GET", senders, "", "controller", good, "200 ok", false},
		{"PATCH", staged, patch, "controller", good, "200 ok", false},
		{"PATCH", staged, patch, "read only", s.Server.Token(readOnly).Sign(), "403 path-not-granted", false},
		{"GET", senders, "", "another device", s.Server.Token(elsewhere).Sign(), "403 audience", false},
		{"GET", senders, "", "expired", s.Server.Token(old).Sign(), "401 token-expired", false},
		{"GET", senders, "", "forged", forged(good), "401 signature", false},
		{"GET", meter, "", "level meters", s.Server.Token(meters).Sign(), "200 ok", false},
		{"GET", "/x-nmos/connection/v1.1//single", "", "controller", good, "400 path-ambiguous", false},
	})
	if err != nil {
		return err
	}
	return s.ownTerms(ctx, good)
}

// newKey has the authorization server replace its key, and shows what that does to tokens.
func (s *stage) newKey(ctx context.Context) error {
	good := s.Server.Token(routing).Sign()
	s.Server.Replace()
	fresh := s.Server.Token(routing).Sign()
	fresh503 := step{"GET", senders, "", "new key", fresh, "503 keys-pending", true}
	if err := s.steps(ctx, []step{fresh503}); err != nil {
		return err
	}
	if err := s.waitForKeys(ctx, fresh); err != nil {
		return err
	}
	return s.steps(ctx, []step{
		{"GET", senders, "", "new key", fresh, "200 ok", false},
		{"GET", senders, "", "old key", good, "401 key-unknown", false},
	})
}

// ownTerms plays the part of the meter feed and the front panel, which do not use HTTP.
func (s *stage) ownTerms(ctx context.Context, good string) error {
	levels, viewer := s.Server.Token(meters).Sign(), s.Server.Token(readOnly).Sign()
	fmt.Println()
	say("The meter feed and the front panel do not use HTTP. They ask by the device's own names, once it has pushed " +
		"its inventory.")
	err := s.steps(ctx, []step{{"read", "meter meter-1", "", "level meters", levels, "503 inventory-pending", true}})
	if err != nil {
		return err
	}
	if err := s.Device.PushInventory(ctx, s.DeviceDaemon.Admin()); err != nil {
		return err
	}
	err = s.steps(ctx, []step{
		{"read", "meter meter-1", "", "none", "", "401 no-token", false},
		{"read", "meter meter-1", "", "level meters", levels, "200 ok", false},
		{"read", "sender out-1", "", "read only", viewer, "200 ok", false},
		{"write", "receiver in-1", "on", "controller", good, "200 ok", false},
		{"write", "receiver in-1", "off", "read only", viewer, "403 path-not-granted", false},
		{"read", "meter meter-9", "", "level meters", levels, "403 resource-unknown", false},
	})
	if err != nil {
		return err
	}
	fmt.Println()
	say("Somebody labels the meter \"stage-left\"; the device pushes its inventory again.")
	if err = s.Device.Rename("meter", "meter-1", "stage-left"); err == nil {
		err = s.Device.PushInventory(ctx, s.DeviceDaemon.Admin())
	}
	if err != nil {
		return err
	}
	return s.steps(ctx, []step{
		{"read", "meter meter-1", "", "level meters", levels, "403 resource-unknown", false},
		{"read", "meter stage-left", "", "level meters", levels, "200 ok", false},
	})
}

// waitForKeys asks for the device's senders until the answer is no longer that keys are being fetched.
func (s *stage) waitForKeys(ctx context.Context, token string) error {
	for {
		status, _, err := s.request(ctx, step{method: "GET", target: senders, bearer: token})
		if err != nil || status != http.StatusServiceUnavailable {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.New("the new key was not fetched in time")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// printRow prints one row of at most 80 columns. A request that is too long for its column gets a line of its own.
func printRow(request, token, answer, first, again string) {
	const room = 25
	if utf8.RuneCountInString(request) > room {
		show(request)
		request = ""
	}
	show(fmt.Sprintf("%-*s %-14s %-21s %7s %7s", room, request, token, answer, first, again))
}

// again makes a request some more times and returns the median of how long asking took.
func (s *stage) again(ctx context.Context, st step) (string, error) {
	var took [9]time.Duration
	for i := range took {
		_, d, err := s.request(ctx, st)
		if err != nil {
			return "", err
		}
		took[i] = d.took
	}
	slices.Sort(took[:])
	return micros(took[len(took)/2]), nil
}

func (s *stage) steps(ctx context.Context, steps []step) error {
	for _, st := range steps {
		status, first, err := s.request(ctx, st)
		if err != nil {
			return err
		}
		got := fmt.Sprintf("%d %s", status, first.reply.Reason)
		again := ""
		if !st.once {
			if again, err = s.again(ctx, st); err != nil {
				return err
			}
		}
		request := short(strings.TrimSpace(st.method + " " + st.target + " " + st.spoken()))
		printRow(request, st.token, got, micros(first.took), again)
		if got != st.want || status != first.reply.Status {
			return fmt.Errorf("the answer should have been %s; the daemon said:\n%s", st.want, first.reply.Text)
		}
	}
	return nil
}

// isPanel reports whether the step is a command of the front panel.
func (st step) isPanel() bool { return st.method == "read" || st.method == "write" }

// spoken returns what the panel's command says after the resource.
func (st step) spoken() string {
	if st.isPanel() {
		return st.body
	}
	return ""
}

// request makes one request of the device and returns its status and the decision behind it.
func (s *stage) request(ctx context.Context, st step) (status int, d decision, err error) {
	select {
	case <-s.decided: // of a request before
	default:
	}
	if st.isPanel() {
		status, err = s.command(ctx, st)
	} else {
		status, err = s.overHTTP(ctx, st)
	}
	if err != nil {
		return 0, decision{}, err
	}
	select {
	case d = <-s.decided:
		return status, d, nil
	default:
		return status, decision{}, errors.New("the device answered without asking the daemon")
	}
}

// command gives the front panel's command, and returns the status of the answer.
func (s *stage) command(ctx context.Context, st step) (int, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", s.Device.PanelAddr())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err = conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	if _, err = fmt.Fprint(conn, strings.Join([]string{st.method, st.target, st.body, st.bearer}, " ")); err != nil {
		return 0, err
	}
	answer := make([]byte, 1024)
	n, err := conn.Read(answer)
	if err != nil {
		return 0, err
	}
	status, _, _ := strings.Cut(string(answer[:n]), " ")
	return strconv.Atoi(status)
}

func (s *stage) overHTTP(ctx context.Context, st step) (int, error) {
	r, err := http.NewRequestWithContext(ctx, st.method, s.Device.URL()+st.target, strings.NewReader(st.body))
	if err != nil {
		return 0, err
	}
	if st.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+st.bearer)
	}
	if st.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := s.Client().Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// micros shows how long asking took.
func micros(d time.Duration) string { return fmt.Sprintf("%d µs", d.Microseconds()) }

// identifier is one of the stage box's.
var identifier = regexp.MustCompile(`6f1e0000-0000-4000-8000-0000000000(..)`)

// short abbreviates identifiers, which tell people nothing.
func short(text string) string { return identifier.ReplaceAllString(text, "…$1") }
