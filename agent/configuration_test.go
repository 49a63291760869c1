package agent_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"nmosauthd/agent/config"
	"nmosauthd/tinytest/mint"
)

const rolePaths = "/x-nmos/configuration/v1.0/rolePaths"

// configurationRows are requests to IS-14's API by what x-nmos-configuration holds: read and write, specifiers parted by
// spaces. Each is asked over both sockets.
var configurationRows = []struct {
	name, forms    string // the configuration's word
	read, write    string
	method, target string
	want           string
}{
	{"CTL-60/base", "role", "root.a", "", "GET", "/x-nmos/configuration/v1.0/", "allow 200 ok"},
	{"CTL-60/base-with-a-selector", "role", "root.a", "", "GET", "/x-nmos/configuration/v1.0/slot3/", "allow 200 ok"},
	{"CTL-60/below-a-selector", "role", "root.a", "", "GET", "/x-nmos/configuration/v1.0/slot3/rolePaths/root.a", "allow 200 ok"},
	{"CTL-60/not-a-selector", "role", "*", "", "GET", "/x-nmos/configuration/v1.0/a.b/rolePaths/root", "deny 403 path-not-granted"},
	{"CTL-60/not-in-the-API", "role", "*", "*", "PUT", "/x-nmos/configuration/v1.0/slot3/other", "deny 403 path-not-granted"},
	{"CTL-16/scope-alone", "role", "-", "", "GET", rolePaths + "/root", "deny 403 path-not-granted"},
	{"CTL-16/scope-alone-base", "role", "-", "", "GET", "/x-nmos/configuration/v1.0", "allow 200 ok"},
	{"CTL-16/scope-alone-list", "role", "-", "", "GET", rolePaths, "deny 403 path-not-granted"},

	{"CTL-61/get", "role", "root.a", "", "GET", rolePaths + "/root.a/properties/1p1/value", "allow 200 ok"},
	{"CTL-61/head", "role", "root.a", "", "HEAD", rolePaths + "/root.a/descriptor", "allow 200 ok"},
	{"CTL-61/another-object", "role", "root.a", "", "GET", rolePaths + "/root.b", "deny 403 path-not-granted"},
	{"CTL-61/below-it", "role", "root.a", "", "GET", rolePaths + "/root.a.b", "deny 403 path-not-granted"},
	{"CTL-61/read-is-not-write", "role", "*", "", "PUT", rolePaths + "/root.a/properties/1p6/value", "deny 403 path-not-granted"},
	{"CTL-61/write-is-not-read", "role", "", "*", "GET", rolePaths + "/root.a/properties/1p6/value", "deny 403 path-not-granted"},
	{"CTL-61/put", "role", "", "root.a", "PUT", rolePaths + "/root.a/properties/1p6/value", "allow 200 ok"},
	{"CTL-61/patch", "role", "", "root.a", "PATCH", rolePaths + "/root.a/methods/3m1", "allow 200 ok"},
	{"CTL-61/post", "role", "root.a", "", "POST", rolePaths + "/root.a", "deny 403 path-not-granted"},
	{"CTL-61/delete", "role", "", "root.a", "DELETE", rolePaths + "/root.a", "allow 200 ok"},
	{"CTL-61/options", "role", "", "", "OPTIONS", rolePaths + "/root.a/bulkProperties", "allow 200 public"},
	{"CTL-62/a-get-method", "role", "root.a", "", "PATCH", rolePaths + "/root.a/methods/1m1", "deny 403 path-not-granted"},
	{"CTL-17/encoded-in-the-URL", "role", "root.a b.é", "", "GET", rolePaths + "/root.a%20b.%C3%A9", "allow 200 ok"},
	{"CTL-17/not-encoded-in-the-claim", "role", "root.a%20b", "", "GET", rolePaths + "/root.a%20b", "deny 403 path-not-granted"},
	{"CTL-17/encoded-twice", "role", "root.a b", "", "GET", rolePaths + "/root.a%2520b", "deny 403 path-not-granted"},
	{"CTL-17/a-slash-in-a-role", "role", "*", "", "GET", rolePaths + "/root.a%2Fb", "deny 400 path-ambiguous"},
	{"CTL-17/a-star-in-a-role", "role", "root.a", "", "GET", rolePaths + "/root.*", "deny 403 path-not-granted"},
	{"CTL-17/dots-to-another-object", "role", "root.a", "", "GET", rolePaths + "/root.a/../root.b", "deny 403 path-not-granted"},
	{"CTL-12/below-a-block", "role", "root.a.*", "", "GET", rolePaths + "/root.a.b.c", "allow 200 ok"},
	{"CTL-13/the-block", "role", "root.a.*", "", "GET", rolePaths + "/root.a", "allow 200 ok"},

	{"CTL-63/list", "role", "root.a", "", "GET", rolePaths, "allow 200 ok"},
	{"CTL-63/list-slash", "role", "root.a", "", "GET", rolePaths + "/", "allow 200 ok"},
	{"CTL-63/list-by-write", "role", "", "root.a", "GET", rolePaths, "deny 403 path-not-granted"},
	{"CTL-63/list-of-a-selector", "role", "root.a", "", "GET", "/x-nmos/configuration/v1.0/slot3/rolePaths", "allow 200 ok"},
	{"CTL-63/list-written", "role", "*", "root.a", "PUT", rolePaths, "deny 403 path-not-granted"},
	{"CTL-63/list-written-with-everything", "role", "", "root.*", "POST", rolePaths, "allow 200 ok"},

	{"CTL-64/whole", "role", "root.*", "", "GET", rolePaths + "/root/bulkProperties", "allow 200 ok"},
	{"CTL-64/star", "role", "*", "", "GET", rolePaths + "/root.a/bulkProperties?recurse=true", "allow 200 ok"},
	{"CTL-64/block", "role", "root.a.*", "", "GET", rolePaths + "/root.a/bulkProperties", "allow 200 ok"},
	{"CTL-64/one-object", "role", "root.a", "", "GET", rolePaths + "/root.a/bulkProperties", "deny 403 subtree-not-granted"},
	{"CTL-64/one-object-head", "role", "root.a", "", "HEAD", rolePaths + "/root.a/bulkProperties", "deny 403 subtree-not-granted"},
	{"CTL-64/one-object-alone", "role", "root.a", "", "GET", rolePaths + "/root.a/bulkProperties?recurse=false", "allow 200 ok"},
	{"CTL-64/another-object", "role", "root.a", "", "GET", rolePaths + "/root.b/bulkProperties?recurse=false", "deny 403 path-not-granted"},
	{"CTL-64/another-object-with-all", "role", "root.a.*", "", "GET", rolePaths + "/root.b/bulkProperties", "deny 403 path-not-granted"},
	{"CTL-64/both", "role", "root.a", "", "GET", rolePaths + "/root.a/bulkProperties?recurse=false&recurse=true", "deny 403 subtree-not-granted"},
	{"CTL-64/not-bulk", "role", "root.a", "", "GET", rolePaths + "/root.a/properties?recurse=true", "allow 200 ok"},
	{"CTL-64/written", "role", "", "root.a", "PATCH", rolePaths + "/root.a/bulkProperties", "allow 200 ok"},

	{"CTL-65/the-target-alone", "role", "", "root.a", "PUT", rolePaths + "/root.a/bulkProperties", "allow 200 ok"},
	{"CTL-65/another-target", "role", "", "root.a.*", "PUT", rolePaths + "/root/bulkProperties", "deny 403 path-not-granted"},

	{"CTL-66/url-form-no-longer", "role", "rolePaths/root*", "", "GET", rolePaths + "/root", "deny 403 path-not-granted"},
	{"CTL-66/url", "url", "rolePaths/root*", "", "GET", rolePaths + "/root/bulkProperties", "allow 200 ok"},
	{"CTL-66/url-list", "url", "rolePaths", "", "GET", rolePaths, "allow 200 ok"},
	{"CTL-66/url-alone", "url", "root.*", "", "GET", rolePaths + "/root", "deny 403 path-not-granted"},
	{"CTL-66/both-url", "both", "rolePaths/root*", "", "GET", rolePaths + "/root/bulkProperties", "allow 200 ok"},
	{"CTL-66/both-role", "both", "root.a", "", "GET", rolePaths + "/root.a", "allow 200 ok"},
	{"CTL-66/both-subtree", "both", "root.a", "", "GET", rolePaths + "/root.a/bulkProperties", "deny 403 subtree-not-granted"},
	{"CTL-66/both-neither", "both", "root.a rolePaths/root.b", "", "GET", rolePaths + "/root.c", "deny 403 path-not-granted"},

	{"CTL-19/prefix", "role", "b:root.a", "", "GET", "/x-nmos/configuration/v1.0/slot2B/rolePaths/root.a", "allow 200 ok"},
	{"CTL-19/no-prefix", "role", "root.a", "", "GET", "/x-nmos/configuration/v1.0/slot2B/rolePaths/root.a", "allow 200 ok"},
	{"CTL-19/another-prefix", "role", "c:root.a", "", "GET", "/x-nmos/configuration/v1.0/slot2B/rolePaths/root.a", "deny 403 path-not-granted"},
	{"CTL-19/prefix-elsewhere", "role", "b:root.a", "", "GET", rolePaths + "/root.a", "deny 403 path-not-granted"},
	{"CTL-19/subtree", "role", "b:root.a.*", "", "GET", "/x-nmos/configuration/v1.0/slot2B/rolePaths/root.a/bulkProperties", "allow 200 ok"},
	{"CTL-19/subtree-not", "role", "b:root.a", "", "GET", "/x-nmos/configuration/v1.0/slot2B/rolePaths/root.a/bulkProperties", "deny 403 subtree-not-granted"},
}

// configurationToken makes the token of a row; "-" is the API's name in scope and nothing else.
func configurationToken(read, write string) *mint.Token {
	if read == "-" {
		return mint.New(mint.Options{Scope: "configuration", Permissions: map[string]mint.Permission{}})
	}
	split := func(text string) []string { // a role may hold a space: only the lists of two parts are split
		if a, b, two := strings.Cut(text, " rolePaths"); two {
			return []string{a, "rolePaths" + b}
		}
		if text == "" {
			return nil
		}
		return []string{text}
	}
	return mint.New(mint.Options{Permissions: map[string]mint.Permission{"configuration": {Read: split(read), Write: split(write)}}})
}

func configured(forms string) func(*config.Config) {
	return func(c *config.Config) {
		c.Control.ConfigurationSpecifiers = config.Specifiers(forms)
		c.Control.Models = []string{"slot2B=b"}
	}
}

func TestConfiguration_CTL60_CTL61_CTL62_CTL63_CTL64_CTL65_CTL66(t *testing.T) {
	key := mint.CachedKey(mint.DefaultKID, 2048)
	devices, webs := map[string]*device{}, map[string]*webServer{}
	for _, forms := range []string{"role", "url", "both"} {
		devices[forms] = newDevice(t, configured(forms), key.JWK())
		webs[forms] = askHTTP(t, devices[forms])
	}
	for _, row := range configurationRows {
		t.Run(row.name, func(t *testing.T) {
			d := devices[row.forms]
			packet := "decide 1\nmethod=" + row.method + "\ntarget=" + row.target + "\nauthorization=Bearer " +
				configurationToken(row.read, row.write).Sign() + "\n"
			if got := d.ask(t, packet); got.first+" "+got.reason() != row.want {
				t.Errorf("got %v, want %s", got, row.want)
			}
			if !compareSockets(t, d, webs[row.forms], packet) {
				t.Error("HTTP cannot ask it")
			}
			all := strings.NewReplacer("decide 1", "decide-all 1").Replace(packet)
			if got := d.ask(t, all); got.first+" "+got.reason() != row.want {
				t.Errorf("decide-all: got %v, want %s", got, row.want)
			}
		})
	}
}

// The body of a denial is that of the API that is asked for: IS-14's is an NcMethodResultError, whose status is never
// 403 (CTL-67, ANS-7).
func TestErrorBody_CTL67_ANS7(t *testing.T) {
	tok := configurationToken("root.a", "")
	d := newDevice(t, nil, tok.Key.JWK())
	web := askHTTP(t, d)
	for name, c := range map[string]struct {
		method, target, authorization string
		http, status                  float64 // status 0: an NMOS error
		code                          string
	}{
		"401":         {"GET", rolePaths, "", 401, 401, "no-token"},
		"403":         {"GET", rolePaths + "/root.b", "Bearer " + tok.Sign(), 403, 401, "path-not-granted"},
		"subtree":     {"GET", rolePaths + "/root.a/bulkProperties", "Bearer " + tok.Sign(), 403, 401, "subtree-not-granted"},
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
		text := "GET /authorize HTTP/1.1\r\nHost: a\r\nX-Original-Method: " + c.method + "\r\nX-Original-URI: " + c.target + "\r\n"
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
			c.status != 0 && (len(body) != 2 || body["status"] != c.status || !strings.HasSuffix(message, "("+c.code+")")) {
			t.Errorf("%s: got the body %v; want status %v, %s", name, body, c.status, c.code)
		}
	}
}
