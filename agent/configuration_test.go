package agent_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"nmosauthd/agent/config"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/rows"
	"nmosauthd/tinytest/spec"
)

const rolePaths = rows.RolePaths

// configurationToken makes the token of a row.
func configurationToken(read, write string) *mint.Token {
	return mint.New(rows.ConfigurationToken(read, write))
}

func configured(forms string) func(*config.Config) {
	return func(c *config.Config) {
		c.Control.ConfigurationSpecifiers = config.Specifiers(forms)
		c.Control.Models = []string{"slot2B=b"}
	}
}

func TestConfiguration(t *testing.T) {
	spec.Rules(t, "CTL-60", "CTL-61", "CTL-62", "CTL-63", "CTL-64", "CTL-65", "CTL-66")
	key := mint.CachedKey(mint.DefaultKID, 2048)
	devices, webs := map[string]*device{}, map[string]*webServer{}
	for _, forms := range []string{"role", "url", "both"} {
		devices[forms] = newDevice(t, configured(forms), key.JWK())
		webs[forms] = askHTTP(t, devices[forms])
	}
	for _, row := range rows.Configuration {
		t.Run(row.Name, func(t *testing.T) {
			d := devices[row.Forms]
			packet := "decide 1\nmethod=" + row.Method + "\ntarget=" + row.Target + "\nauthorization=Bearer " +
				configurationToken(row.Read, row.Write).Sign() + "\n"
			if got := d.ask(t, packet); got.first+" "+got.reason() != row.Want {
				t.Errorf("got %v, want %s", got, row.Want)
			}
			if !compareSockets(t, d, webs[row.Forms], packet) {
				t.Error("HTTP cannot ask it")
			}
			all := strings.NewReplacer("decide 1", "decide-all 1").Replace(packet)
			if got := d.ask(t, all); got.first+" "+got.reason() != row.Want {
				t.Errorf("decide-all: got %v, want %s", got, row.Want)
			}
		})
	}
}

// The body of a denial is that of the API that is asked for: IS-14's is an NcMethodResultError, whose status is never
// 403 (CTL-67, ANS-7).
func TestErrorBody(t *testing.T) {
	spec.Rules(t, "CTL-67", "ANS-7")
	tok := configurationToken("root.a", "")
	d := newDevice(t, nil, tok.Key.JWK())
	web := askHTTP(t, d)
	for name, c := range map[string]struct {
		method, target, authorization string
		http, status                  float64 // status 0: an NMOS error
		code                          string
	}{
		"401": {"GET", rolePaths, "", 401, 401, "no-token"},
		"403": {"GET", rolePaths + "/root.b", "Bearer " + tok.Sign(), 403, 401, "path-not-granted"},
		"subtree": {"GET", rolePaths + "/root.a/bulkProperties", "Bearer " + tok.Sign(), 403, 401,
			"subtree-not-granted"},
		"503":         {"GET", rolePaths, "Bearer " + awaited(), 503, 503, "keys-pending"},
		"405":         {"TRACE", rolePaths, "", 405, 405, "method"},
		"ambiguous":   {"GET", "/x-nmos/configuration//v1.0", "", 400, 400, "path-ambiguous"},
		"encoded":     {"GET", "/x-nmos/%63onfiguration/v1.0", "", 401, 401, "no-token"},
		"base":        {"GET", "/x-nmos/configuration?a", "", 401, 401, "no-token"},
		"out of it":   {"GET", "/x-nmos/configuration/v1.0/../../node", "", 401, 0, "no-token"},
		"into it":     {"GET", "/x-nmos/node/../configuration/v1.0", "", 401, 401, "no-token"},
		"another API": {"GET", "/x-nmos/configurations/v1.0", "", 401, 0, "no-token"},
		"IS-12":       {"GET", "/x-nmos/ncp/v1.0", "", 401, 0, "no-token"},
	} {
		text := "GET /authorize HTTP/1.1\r\nHost: a\r\nX-Original-Method: " + c.method +
			"\r\nX-Original-URI: " + c.target + "\r\n"
		if c.authorization != "" {
			text += "Authorization: " + c.authorization + "\r\n"
		}
		if _, err := io.WriteString(web.conn, text+"\r\n"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(web.reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		var body map[string]any
		err = json.NewDecoder(response.Body).Decode(&body)
		response.Body.Close()
		if err != nil || response.StatusCode != int(c.http) {
			t.Errorf("%s: got status %d, %v; want %v", name, response.StatusCode, err, c.http)
		}
		message, _ := body["errorMessage"].(string)
		if c.status == 0 && (len(body) != 3 || body["code"] != c.http || body["debug"] != c.code) ||
			c.status != 0 && (len(body) != 2 || body["status"] != c.status ||
				!strings.HasSuffix(message, "("+c.code+")")) {
			t.Errorf("%s: got the body %v; want status %v, %s", name, body, c.status, c.code)
		}
	}
}
