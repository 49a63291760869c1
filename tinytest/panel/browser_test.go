package panel_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// page is the page in a browser.
type page struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex
	faults []string // what the console has of errors
}

// open opens the page as the person at the desk.
func open(t *testing.T, address string) *page {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is missing: apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox,
		chromedp.DisableGPU, chromedp.Flag("disable-dev-shm-usage", true), chromedp.WSURLReadTimeout(patience))
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	// it does not know of every event
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithErrorf(func(string, ...any) {}))
	t.Cleanup(cancel)
	p := &page{t: t, ctx: ctx}
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			p.fault(e.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning {
				p.fault(fmt.Sprintf("console: %s", e.Args[0].Value))
			}
		case *cdplog.EventEntryAdded:
			if e.Entry.Level == cdplog.LevelError || e.Entry.Source == cdplog.SourceSecurity {
				p.fault(e.Entry.Text + " " + e.Entry.URL)
			}
		}
	})
	login := base64.StdEncoding.EncodeToString([]byte("operator:at the desk"))
	p.do(network.Enable(), cdplog.Enable(),
		network.SetExtraHTTPHeaders(network.Headers{"Authorization": "Basic " + login}),
		browser.GrantPermissions([]browser.PermissionType{
			browser.PermissionTypeClipboardReadWrite, browser.PermissionTypeClipboardSanitizedWrite,
		}),
		chromedp.EmulateViewport(1200, 900), chromedp.Navigate(address))
	return p
}

func (p *page) fault(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, text)
}

func (p *page) do(actions ...chromedp.Action) {
	p.t.Helper()
	if err := chromedp.Run(p.ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

// eval evaluates an expression into a value.
func (p *page) eval(expression string, value any) {
	p.t.Helper()
	p.do(chromedp.Evaluate(expression, value, func(e *runtime.EvaluateParams) *runtime.EvaluateParams {
		return e.WithAwaitPromise(true)
	}))
}

// until waits until an expression is true.
func (p *page) until(expression string) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		var done bool
		if p.eval("(async () => !!("+expression+"))().catch(() => false)", &done); done {
			return
		}
		if time.Now().After(deadline) {
			var text string
			p.eval("document.body.innerText", &text)
			p.t.Fatalf("no result while waiting for %s on the page:\n%s", expression, text)
		}
	}
}

// shot takes a picture into build/.
func (p *page) shot(name string) {
	p.t.Helper()
	var picture []byte
	p.do(chromedp.CaptureScreenshot(&picture))
	folder := filepath.Join(root, "build", "panel")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// scheme has the page think that the person likes it dark, or light.
func (p *page) scheme(name string) {
	p.t.Helper()
	p.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: name}}))
}

const text = `.textContent.includes`

// What the person at a dark monitor does: look at the light, see the denial come, open it, copy the claim.
func TestPage(t *testing.T) {
	r := newRig(t)
	r.ask("before the page", "PATCH", receiver, 403)
	p := open(t, r.serve(t, recipes[0]))
	p.until(`document.querySelector("#light.healthy")`)
	p.until(`document.querySelector("#line").textContent === "healthy: enforce, 1 server, 1 key"`)
	p.until(`document.querySelector("#live").textContent === "live"`)
	p.until(`document.querySelector("#list")` + text + `("before the page")`)
	p.until(`document.querySelector("#facts")` + text + `("Device’s clock")`)
	p.until(`document.querySelector("#server-list")` + text + `("key-1")`)
	p.until(`document.querySelector("#uses")` + text + `("receiver/in-1")`)

	token := r.ask("desk-7", "PATCH", receiver, 403) // it comes by itself
	p.until(`document.querySelector("#list li:first-child")` + text + `("desk-7")`)
	r.ask(markup, "PATCH", receiver, 403)
	p.until(`document.querySelector("#list li:first-child")` + text + `(` + quoted(markup) + `)`)
	p.until(`!document.querySelector("#list img")`)

	p.filter("desk-7")
	p.until(`[...document.querySelectorAll("#list li:not([hidden])")].length === 1`)
	p.do(chromedp.Click("#list li:not([hidden]) button", chromedp.ByQuery))
	p.until(`document.querySelector("#explain").open && document.querySelector("#explain-text")` + text +
		`("deny 403 path-not-granted")`)
	p.until(`!document.querySelector("#missing").hidden`)
	p.shot("explain")
	p.axe("the explanation")
	p.do(chromedp.Click("#copy", chromedp.ByID))
	p.until(`(await navigator.clipboard.readText()).includes("x-nmos-connection")`)
	var copied string
	p.eval("navigator.clipboard.readText()", &copied)
	var claim map[string]mintPermission
	if err := json.Unmarshal([]byte(copied), &claim); err != nil || len(claim["x-nmos-connection"].Write) != 1 {
		t.Errorf("copied %q (%v), want the missing claim x-nmos-connection with one write", copied, err)
	}
	p.do(chromedp.KeyEvent(kb.Escape))
	p.until(`!document.querySelector("#explain").open`)

	// Where the browser has no clipboard for pages without TLS.
	p.eval(`navigator.clipboard.writeText("other")`, nil)
	p.eval(`Object.defineProperty(navigator, "clipboard", {value: {writeText: () => Promise.reject(), readText: navigator.clipboard.readText.bind(navigator.clipboard)}})`, nil)
	p.do(chromedp.Click("#observe-again", chromedp.ByID))
	p.until(`document.querySelector("#report tbody")` + text + `("desk-7")`)
	p.until(`document.querySelector("#report tbody")` + text + `("x-nmos-connection")`)
	p.do(chromedp.Click("#observe-copy", chromedp.ByID))
	p.until(`(await navigator.clipboard.readText()) !== "other"`)
	p.eval("navigator.clipboard.readText()", &copied)
	var report struct{ Decisions int }
	if err := json.Unmarshal([]byte(copied), &report); err != nil || report.Decisions < 3 {
		t.Errorf("copied %q (%v), want the report of at least 3 decisions", copied, err)
	}

	var html string
	p.eval("document.documentElement.outerHTML", &html)
	if strings.Contains(html, token[strings.LastIndexByte(token, '.')+1:]) || strings.Contains(html, token[:40]) {
		t.Error("the page has a token in it")
	}
	p.filter("")
	p.keyboard()
	for _, scheme := range []string{"light", "dark"} {
		p.scheme(scheme)
		p.do(chromedp.EmulateViewport(1200, 900))
		p.eval("scrollTo(0, 0)", nil)
		p.shot(scheme)
		p.axe(scheme)
		p.do(chromedp.EmulateViewport(360, 740))
		p.until("innerWidth === 360")
		var wide int
		if p.eval("document.documentElement.scrollWidth", &wide); wide > 360 {
			t.Errorf("%s: at 360 px the page is %d px wide", scheme, wide)
		}
		p.shot(scheme + "-360")
		p.axe(scheme + ", 360 px")
	}

	// A timed observe mode shows what is left of it, and what enforcing would deny.
	if status, body := r.send(r.Admin(), "POST", "/observe/mode?for=30m", "", nil); status != 200 {
		t.Fatalf("observe mode: %d %s", status, body)
	}
	p.until(`document.querySelector("#light.degraded")`)
	p.until(`document.querySelector("#facts")` + text + `("observe, ends in ")`)
	r.ask("desk-9", "PATCH", receiver, 200)
	p.until(`document.querySelector("#list li:first-child .would")` + text + `("would 403")`)
	p.axe("observe mode")

	p.quiet()

	// Without the daemon the light goes out.
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	p.until(`document.querySelector("#light.silent")`)
	p.until(`document.querySelector("#live")` + text + `("not connected")`)
}

// quiet fails the test if the console has an error.
func (p *page) quiet() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.faults) > 0 {
		p.t.Errorf("the console says:\n%s", strings.Join(p.faults, "\n"))
	}
}

func (p *page) filter(text string) {
	p.t.Helper()
	p.eval(`document.querySelector("#filter").value = `+quoted(text)+`;
		document.querySelector("#filter").dispatchEvent(new Event("input"))`, nil)
}

type mintPermission struct{ Read, Write []string }

// quoted is a text as JavaScript has it.
func quoted(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

// keyboard goes through the page by the Tab key alone: everything that can be used is reached, and Enter and Escape
// open and close a denial.
func (p *page) keyboard() {
	p.t.Helper()
	const all = `[...document.querySelectorAll("body > a, nav a, main button, main input")].filter((e) => e.offsetParent || e.className === "skip")`
	var total int
	p.eval(`for (const e of `+all+`) e.toggleAttribute("data-to-reach", true); document.activeElement.blur();
		addEventListener("focusin", (e) => e.target.removeAttribute("data-to-reach"));
		getSelection().removeAllRanges(); document.querySelectorAll("[data-to-reach]").length`, &total)
	if total < 8 {
		p.t.Errorf("found %d things to use by keyboard, want at least 8", total)
	}
	left := total
	for i := 0; i < 3*total+20 && left > 0; i++ {
		p.do(chromedp.KeyEvent(kb.Tab))
		p.eval(`document.querySelectorAll("[data-to-reach]").length`, &left)
	}
	if left > 0 {
		var names string
		p.eval(`[...document.querySelectorAll("[data-to-reach]")].map((e) => e.outerHTML).join("\n")`, &names)
		p.t.Errorf("the Tab key does not reach:\n%s", names)
	}
	p.eval(`document.querySelector("#list button").focus()`, nil)
	p.do(chromedp.KeyEvent(kb.Enter))
	p.until(`document.querySelector("#explain").open`)
	p.do(chromedp.KeyEvent(kb.Escape))
	p.until(`!document.querySelector("#explain").open && document.activeElement.closest("#list")`)
}

// axe has axe-core look for what keeps people from using the page.
func (p *page) axe(where string) {
	p.t.Helper()
	program, err := os.ReadFile(filepath.Join(root, "build/axe/package/axe.min.js"))
	if err != nil {
		p.t.Log("axe-core is missing, so nothing of its kind is checked: .ci/run fetches it into build/axe")
		return
	}
	var faults []string
	p.eval(string(program)+`; axe.run(document, {resultTypes: ["violations"]}).then((found) => found.violations
		.filter((v) => v.impact === "serious" || v.impact === "critical" || v.impact === "moderate")
		.map((v) => v.impact + " " + v.id + ": " + v.help + ": " + v.nodes.map((n) => n.html + " " + n.failureSummary).join("; ")))`, &faults)
	for _, f := range faults {
		p.t.Errorf("%s: %s", where, f)
	}
}
