package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"nmosauthd/tinytest/controller"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/registry"
	"nmosauthd/tinytest/studio"
)

// width is what a terminal shows.
const width = 80

// wide are lines that did not fit; the story must have none.
var wide []string

// show prints one line.
func show(line string) {
	if line = strings.TrimRight(line, " "); utf8.RuneCountInString(line) > width {
		wide = append(wide, line)
	}
	fmt.Println(line)
}

// say prints a text in lines that fit.
func say(format string, a ...any) { fold("", fmt.Sprintf(format, a...)) }

// fold prints a text in lines that fit, each with the same indent.
func fold(indent, text string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(indent+line+" "+word) > width {
			show(indent + line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	show(indent + line)
}

// did prints what somebody did, and what came of it.
func did(who, what, answer string) { show(fmt.Sprintf("  %-9s %-47s %s", who, what, answer)) }

// refusal checks and prints a refusal.
func refusal(who, what string, err error, status int, reason string) error {
	gotStatus, gotReason := controller.Refused(err)
	if gotStatus != status || gotReason != reason {
		return fmt.Errorf("%s, %s: got %v, want %d %s", who, what, err, status, reason)
	}
	did(who, what, fmt.Sprintf("%d %s", status, reason))
	return nil
}

// cast are those who appear in more than one chapter.
type cast struct {
	panel, guest   *controller.Controller
	out, in, meter controller.Resource
}

// play tells the story. It returns an error if anything is not as told.
func (s *stage) play(ctx context.Context) error {
	var c cast
	for i, chapter := range []struct {
		title string
		play  func(context.Context, *cast) error
	}{
		{"A stage box without a certificate gets one", s.deviceEnrols},
		{"The authorization server appears", s.serverAppears},
		{"The stage box gets a token of its own, and announces itself", s.deviceAnnounces},
		{"People sign in at their panels", s.peopleSignIn},
		{"Each may do what their claims say, and nothing else", s.panelsWork},
		{"Mona may watch the microphones' gains, and Sven may turn them", s.gains},
		{"What the stage box is asked, and what its nmos-authd answers",
			func(ctx context.Context, _ *cast) error { return s.answers(ctx) }},
		{"The server's key is lost, and replaced", s.keyIsReplaced},
		{"Anna's access is withdrawn", s.accessIsWithdrawn},
		{"The same without tokens, in observe mode", s.observe},
	} {
		if i > 0 {
			fmt.Println()
		}
		show(fmt.Sprintf("%d. %s", i+1, chapter.title))
		if err := chapter.play(ctx, &c); err != nil {
			return fmt.Errorf("%d. %s: %w", i+1, chapter.title, err)
		}
		if v := s.Server.Violations(); len(v) > 0 {
			return fmt.Errorf("%d. %s: the authorization server complains of what it was sent: %q",
				i+1, chapter.title, v)
		}
		if v := s.EST.Violations(); len(v) > 0 {
			return fmt.Errorf("%d. %s: the certificate server complains of what it was sent: %q", i+1, chapter.title, v)
		}
	}
	return nil
}

func (s *stage) serverAppears(ctx context.Context, _ *cast) error {
	if err := s.AnnounceServer(); err != nil {
		return err
	}
	found, err := s.Resolver().Browse(ctx, "_nmos-auth._tcp", studio.Domain, "v1.0")
	if err != nil {
		return err
	}
	say("DNS-SD now has _nmos-auth._tcp.%s. The registry is switched on, and the stage box's web server starts. Each "+
		"has an nmos-authd beside it, which finds the server, checks its certificate and fetches its "+
		"keys.", studio.Domain)
	if err := s.StartRegistry(ctx); err != nil {
		return err
	}
	if err := s.StartDevice(ctx); err != nil {
		return err
	}
	for _, g := range []*studio.Guarded{s.RegistryDaemon, s.DeviceDaemon} {
		if !strings.Contains(g.Log(), `"servers found","servers":["`+s.Server.Issuer()+`"`) {
			return fmt.Errorf("a daemon has not found the server:\n%s", g.Log())
		}
	}
	show("  server    " + found[0].URL())
	show("  registry  " + s.Registry.URL())
	show("  stage box " + s.Device.URL())
	return nil
}

func (s *stage) deviceAnnounces(ctx context.Context, _ *cast) error {
	say("The registry wants tokens too. The stage box's firmware does not know OAuth: its nmos-authd registers it as " +
		"a client, with a key made on the device, and hands the firmware a token. (It would do so by itself within " +
		"20 s.)")
	text, err := s.RegisterDevice(ctx)
	if err != nil {
		return err
	}
	show("  $ nmos-authd client register")
	quote(text)
	clients := s.Server.Registered()
	if len(clients) != 1 || clients[0].Scope != "registration" || clients[0].AuthMethod != "private_key_jwt" {
		return fmt.Errorf("registered are %+v, want the stage box alone, by its key, for registration alone", clients)
	}
	did("stage box", "registers as "+clients[0].Name, clients[0].ID)
	s.AnnounceDevice()
	select {
	case <-s.announced:
	case <-ctx.Done():
		return fmt.Errorf("the stage box does not announce itself: %w\n%s", ctx.Err(), s.DeviceDaemon.Log())
	}
	did("stage box", "asks its nmos-authd for a token: registration", "a token")
	did("stage box", "registers itself, 3 senders, 2 receivers, ...", "allowed")
	if err := s.shell(ctx, s.DeviceDaemon, "client", "status"); err != nil {
		return err
	}

	// BCP-003-02: what a client has registered is its own.
	stranger := s.Server.Token(mint.Options{
		Device: studio.RegistryHost, Client: "another-device", Scope: "registration",
	}).Sign()
	request, err := http.NewRequestWithContext(ctx, http.MethodDelete,
		s.Registry.URL()+registry.RegistrationAPI+"/resource/nodes/"+firmware.NodeID, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+stranger)
	response, err := s.Client().Do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		return fmt.Errorf("another device removes the stage box's entry: %s, want 403", response.Status)
	}
	did("another", "device tries to remove the stage box's entry", "403 not its own")
	return nil
}

func (s *stage) peopleSignIn(ctx context.Context, c *cast) error {
	say("A panel finds the server in DNS-SD, registers as a client, and opens the server's page. Anna types her " +
		"password there, not at the panel, which gets a code, and for it a token (PKCE).")
	c.panel, c.guest = s.Controller("Panel 1", studio.Anna), s.Controller("Panel 2", studio.Vito)
	if err := s.signIn(ctx, "Anna", c.panel, "query connection events"); err != nil {
		return err
	}
	return s.signIn(ctx, "Vito", c.guest, "connection")
}

func (s *stage) signIn(ctx context.Context, who string, c *controller.Controller, scope string) error {
	if err := c.SignIn(ctx); err != nil {
		return err
	}
	if c.Scope() != scope {
		return fmt.Errorf("%s's token is for %q, want %q", who, c.Scope(), scope)
	}
	did(who, "signs in, for: "+scope, "a token")
	return nil
}

func (s *stage) panelsWork(ctx context.Context, c *cast) error {
	list, err := c.panel.Query(ctx, "senders")
	if err != nil {
		return err
	}
	receivers, err := c.panel.Query(ctx, "receivers")
	if err != nil {
		return err
	}
	if len(list) != 3 || len(receivers) != 2 {
		return fmt.Errorf("the registry has the senders %v and the receivers %v, want 3 and 2", list, receivers)
	}
	if c.out, err = pick(list, firmware.Sender1ID); err == nil {
		c.meter, err = pick(list, firmware.MeterSenderID)
	}
	if err == nil {
		c.in, err = pick(receivers, firmware.Receiver1ID)
	}
	if err != nil {
		return err
	}
	did("Anna", fmt.Sprintf("asks the registry: %d senders, %d receivers", len(list), len(receivers)), "allowed")
	_, err = c.guest.Query(ctx, "senders")
	if err := refusal("Vito", "asks the registry the same", err, http.StatusForbidden, "api-not-granted"); err != nil {
		return err
	}
	if err := s.connectAndFollow(ctx, c); err != nil {
		return err
	}
	if err := s.watch(ctx, "Anna", c.panel, c); err != nil {
		return err
	}
	if err := s.mayNotMute(ctx, "Anna", c.panel, c); err != nil {
		return err
	}
	_, err = c.panel.Get(ctx, s.Device.URL()+"/x-nmos/node/v1.3/self")
	return refusal("Anna", "reads the stage box's Node API", err, http.StatusForbidden, "api-not-granted")
}

func pick(list []controller.Resource, id string) (controller.Resource, error) {
	i := slices.IndexFunc(list, func(r controller.Resource) bool { return r.ID == id })
	if i < 0 {
		return controller.Resource{}, fmt.Errorf("the registry does not have %s, but %v", id, list)
	}
	return list[i], nil
}

func (s *stage) connect(ctx context.Context, who string, panel *controller.Controller, c *cast) error {
	if err := panel.Connect(ctx, c.out, c.in); err != nil {
		return err
	}
	did(who, fmt.Sprintf("connects %s to %s", c.out.Label, c.in.Label), "allowed")
	return nil
}

// connectAndFollow has Anna's panel follow the registry while she makes a connection, until it is shown there.
func (s *stage) connectAndFollow(ctx context.Context, c *cast) error {
	following, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- c.panel.Follow(ctx, "receivers", func(r controller.Resource) bool {
			notify(following)()
			return r.ID != c.in.ID || !r.Subscription.Active || r.Subscription.SenderID != c.out.ID
		})
	}()
	select {
	case <-following:
	case err := <-ended:
		return errors.Join(err, errors.New("the panel does not follow the registry"))
	}
	if err := s.connect(ctx, "Anna", c.panel, c); err != nil {
		return err
	}
	if err := <-ended; err != nil {
		return err
	}
	did("stage box", "tells the registry, and Anna's panel sees it", "allowed")
	return nil
}

// watch follows the meter over three levels, each of which is only set once the one before was seen.
func (s *stage) watch(ctx context.Context, who string, panel *controller.Controller, c *cast) error {
	want := []float64{-30, -24, -18}
	var seen []string
	s.Device.SetLevel(want[0])
	err := panel.Watch(ctx, c.meter, func(dBFS float64) bool {
		seen = append(seen, fmt.Sprint(dBFS))
		if len(seen) < len(want) {
			s.Device.SetLevel(want[len(seen)])
		}
		return len(seen) < len(want)
	})
	if err != nil {
		return err
	}
	if got := fmt.Sprint(seen); got != fmt.Sprint(want) {
		return fmt.Errorf("%s's meter shows %s, want %v", who, got, want)
	}
	did(who, "watches the level meter: "+strings.Join(seen, ", ")+" dBFS", "allowed")
	return nil
}

func (s *stage) keyIsReplaced(ctx context.Context, c *cast) error {
	watching, dark := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		dark <- c.panel.Watch(ctx, c.meter, func(float64) bool { notify(watching)(); return true })
	}()
	select {
	case <-watching:
	case err := <-dark:
		return err
	}
	say("The stage box learns of the new key from the first token under it; nobody waits.")
	printRow("asked of the stage box", "with token", "answer and reason", "first", "again")
	if err := s.newKey(ctx); err != nil {
		return err
	}
	select {
	case err := <-dark:
		if ctx.Err() != nil {
			return err
		}
	case <-ctx.Done():
		return fmt.Errorf("the meter at Anna's panel is not closed: %w\n%s", ctx.Err(), s.DeviceDaemon.Log())
	}
	fmt.Println()
	say("Anna's level meter was open under the old key: the stage box's nmos-authd says so, and it is closed. " +
		"Whoever holds a token under the old key is refused, and gets another by itself.")
	select {
	case <-s.replaced: // of before
	default:
	}
	if _, err := c.panel.Query(ctx, "senders"); err != nil {
		return err
	}
	if err := c.panel.Refresh(ctx); err != nil {
		return err
	}
	if _, err := c.panel.Query(ctx, "senders"); err != nil {
		return err
	}
	did("Anna", "refreshes her token and asks the registry", "allowed")
	if err := s.watch(ctx, "Anna", c.panel, c); err != nil {
		return err
	}
	select {
	case <-s.replaced:
	case <-ctx.Done():
		return fmt.Errorf("the stage box's own token is not replaced: %w\n%s", ctx.Err(), s.DeviceDaemon.Log())
	}
	did("stage box", "is refused by the registry, asks for another", "allowed")
	return nil
}

// lastLife is how long the last token lives of somebody whose access is withdrawn.
const lastLife = 5 * time.Second

func (s *stage) accessIsWithdrawn(ctx context.Context, c *cast) error {
	say("She gets no further token. The one that she has works until its end, here for five seconds: that is why " +
		"facilities keep tokens short.")
	s.Server.SetLife(lastLife)
	if err := c.panel.Refresh(ctx); err != nil {
		return err
	}
	s.Server.SetLife(time.Hour)
	id, err := c.panel.Register(ctx)
	if err != nil {
		return err
	}
	s.Server.Withdraw(id)
	err = refusal("Anna", "wants another token", c.panel.Refresh(ctx), http.StatusBadRequest, "invalid_grant")
	if err != nil {
		return err
	}
	err = c.panel.Watch(ctx, c.meter, func(float64) bool { return true }) // until the stage box ends it
	if ctx.Err() != nil {
		return err
	}
	did("Anna", "watches the meter while her token lasts", "goes dark")
	for err = nil; err == nil; {
		time.Sleep(20 * time.Millisecond) // between two questions
		_, err = c.panel.Query(ctx, "senders")
	}
	return refusal("Anna", "asks the registry", err, http.StatusUnauthorized, "token-expired")
}

func (s *stage) observe(ctx context.Context, c *cast) error {
	say("A facility that is not ready sets mode = \"observe\": everything is allowed, and remembered. An old panel, " +
		"which knows no tokens, goes on working.")
	both := []*studio.Guarded{s.RegistryDaemon, s.DeviceDaemon}
	for _, g := range both {
		if err := g.SetMode(ctx, "observe"); err != nil {
			return err
		}
		if _, err := s.Command(ctx, g, "observe", "reset"); err != nil {
			return err
		}
	}
	if err := s.oldPanelWorks(ctx, "old panel", s.Controller("Old panel", controller.Person{}), c); err != nil {
		return err
	}
	fmt.Println()
	say("nmos-authd observe report, on the stage box, says what enforce would have denied, and which claims to give:")
	// The registry was asked for the senders and the device; the stage box for the sender's transport file, twice for
	// the receiver, for where the meter is, and for the meter.
	given, err := s.Missing(ctx, s.RegistryDaemon, 2)
	if err != nil {
		return err
	}
	claims, err := s.Missing(ctx, s.DeviceDaemon, 5)
	if err != nil {
		return err
	}
	report, err := s.Command(ctx, s.DeviceDaemon, "observe", "report")
	if err != nil {
		return err
	}
	quote(report)

	// The claims go to the administrator, and the mode to enforce.
	maps.Copy(given, claims)
	for _, g := range both {
		if err := g.SetMode(ctx, "enforce"); err != nil {
			return err
		}
	}
	s.Permit(studio.Vito.Name, given)
	fmt.Println()
	say("Vito gets these claims, and those of the registry's report. The mode is enforce again.")
	_, err = s.Controller("Old panel", controller.Person{}).Query(ctx, "senders")
	if err := refusal("old panel", "asks the registry", err, http.StatusUnauthorized, "no-token"); err != nil {
		return err
	}
	if err := c.guest.SignIn(ctx); err != nil {
		return err
	}
	if err := s.oldPanelWorks(ctx, "Vito", c.guest, c); err != nil {
		return err
	}
	return s.mayNotMute(ctx, "Vito", c.guest, c)
}

func (s *stage) mayNotMute(ctx context.Context, who string, panel *controller.Controller, c *cast) error {
	err := panel.Mute(ctx, c.out)
	return refusal(who, "switches "+c.out.Label+" off", err, http.StatusForbidden, "path-not-granted")
}

// oldPanelWorks does with a panel what a facility does all day.
func (s *stage) oldPanelWorks(ctx context.Context, who string, panel *controller.Controller, c *cast) error {
	list, err := panel.Query(ctx, "senders")
	if err != nil {
		return err
	}
	did(who, fmt.Sprintf("asks the registry: %d senders", len(list)), "allowed")
	if err := s.connect(ctx, who, panel, c); err != nil {
		return err
	}
	return s.watch(ctx, who, panel, c)
}

// shell runs a subcommand of the daemon's program, and shows it with what it says.
func (s *stage) shell(ctx context.Context, g *studio.Guarded, words ...string) error {
	text, err := s.Command(ctx, g, words...)
	if err == nil {
		show("  $ nmos-authd " + strings.Join(words, " "))
		quote(text)
	}
	return err
}

// quote prints what a command said, indented, with its lines folded and without what tells people nothing.
func quote(text string) {
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimRight(short(line), "\n")
		bare := strings.TrimLeft(line, " ")
		fold("  "+line[:len(line)-len(bare)], bare)
	}
}
