package rows

import (
	"strings"

	"nmosauthd/tinytest/mint"
)

// RolePaths is where the objects of IS-14's API are.
const RolePaths = "/x-nmos/configuration/v1.0/rolePaths"

// Configuration are requests to IS-14's API by what x-nmos-configuration holds: read and write, specifiers parted by
// spaces. The device has [control] models = ["slot2B=b"].
var Configuration = []struct {
	Name, Forms    string // the word of [control] configuration_specifiers
	Read, Write    string
	Method, Target string
	Want           string
}{
	{"CTL-60/base", "role", "root.a", "", "GET", "/x-nmos/configuration/v1.0/", "allow 200 ok"},
	{"CTL-60/base-with-a-selector", "role", "root.a", "", "GET", "/x-nmos/configuration/v1.0/slot3/", "allow 200 ok"},
	{"CTL-60/below-a-selector", "role", "root.a", "", "GET",
		"/x-nmos/configuration/v1.0/slot3/rolePaths/root.a", "allow 200 ok"},
	{"CTL-60/not-a-selector", "role", "*", "", "GET", "/x-nmos/configuration/v1.0/a.b/rolePaths/root",
		"deny 403 path-not-granted"},
	{"CTL-60/not-in-the-API", "role", "*", "*", "PUT", "/x-nmos/configuration/v1.0/slot3/other",
		"deny 403 path-not-granted"},
	{"CTL-16/scope-alone", "role", "-", "", "GET", RolePaths + "/root", "deny 403 path-not-granted"},
	{"CTL-16/scope-alone-base", "role", "-", "", "GET", "/x-nmos/configuration/v1.0", "allow 200 ok"},
	{"CTL-16/scope-alone-list", "role", "-", "", "GET", RolePaths, "deny 403 path-not-granted"},

	{"CTL-61/get", "role", "root.a", "", "GET", RolePaths + "/root.a/properties/1p1/value", "allow 200 ok"},
	{"CTL-61/head", "role", "root.a", "", "HEAD", RolePaths + "/root.a/descriptor", "allow 200 ok"},
	{"CTL-61/another-object", "role", "root.a", "", "GET", RolePaths + "/root.b", "deny 403 path-not-granted"},
	{"CTL-61/below-it", "role", "root.a", "", "GET", RolePaths + "/root.a.b", "deny 403 path-not-granted"},
	{"CTL-61/read-is-not-write", "role", "*", "", "PUT", RolePaths + "/root.a/properties/1p6/value",
		"deny 403 path-not-granted"},
	{"CTL-61/write-is-not-read", "role", "", "*", "GET", RolePaths + "/root.a/properties/1p6/value",
		"deny 403 path-not-granted"},
	{"CTL-61/put", "role", "", "root.a", "PUT", RolePaths + "/root.a/properties/1p6/value", "allow 200 ok"},
	{"CTL-61/patch", "role", "", "root.a", "PATCH", RolePaths + "/root.a/methods/3m1", "allow 200 ok"},
	{"CTL-61/post", "role", "root.a", "", "POST", RolePaths + "/root.a", "deny 403 path-not-granted"},
	{"CTL-61/delete", "role", "", "root.a", "DELETE", RolePaths + "/root.a", "allow 200 ok"},
	{"CTL-61/options", "role", "", "", "OPTIONS", RolePaths + "/root.a/bulkProperties", "allow 200 public"},
	{"CTL-62/a-get-method", "role", "root.a", "", "PATCH", RolePaths + "/root.a/methods/1m1",
		"deny 403 path-not-granted"},
	{"CTL-17/encoded-in-the-URL", "role", "root.a b.é", "", "GET", RolePaths + "/root.a%20b.%C3%A9", "allow 200 ok"},
	{"CTL-17/not-encoded-in-the-claim", "role", "root.a%20b", "", "GET", RolePaths + "/root.a%20b",
		"deny 403 path-not-granted"},
	{"CTL-17/encoded-twice", "role", "root.a b", "", "GET", RolePaths + "/root.a%2520b", "deny 403 path-not-granted"},
	{"CTL-17/a-slash-in-a-role", "role", "*", "", "GET", RolePaths + "/root.a%2Fb", "deny 400 path-ambiguous"},
	{"CTL-17/a-star-in-a-role", "role", "root.a", "", "GET", RolePaths + "/root.*", "deny 403 path-not-granted"},
	{"CTL-17/dots-to-another-object", "role", "root.a", "", "GET", RolePaths + "/root.a/../root.b",
		"deny 403 path-not-granted"},
	{"CTL-12/below-a-block", "role", "root.a.*", "", "GET", RolePaths + "/root.a.b.c", "allow 200 ok"},
	{"CTL-13/the-block", "role", "root.a.*", "", "GET", RolePaths + "/root.a", "allow 200 ok"},

	{"CTL-63/list", "role", "root.a", "", "GET", RolePaths, "allow 200 ok"},
	{"CTL-63/list-slash", "role", "root.a", "", "GET", RolePaths + "/", "allow 200 ok"},
	{"CTL-63/list-by-write", "role", "", "root.a", "GET", RolePaths, "deny 403 path-not-granted"},
	{"CTL-63/list-of-a-selector", "role", "root.a", "", "GET",
		"/x-nmos/configuration/v1.0/slot3/rolePaths", "allow 200 ok"},
	{"CTL-63/list-written", "role", "*", "root.a", "PUT", RolePaths, "deny 403 path-not-granted"},
	{"CTL-63/list-written-with-everything", "role", "", "root.*", "POST", RolePaths, "allow 200 ok"},

	{"CTL-64/whole", "role", "root.*", "", "GET", RolePaths + "/root/bulkProperties", "allow 200 ok"},
	{"CTL-64/star", "role", "*", "", "GET", RolePaths + "/root.a/bulkProperties?recurse=true", "allow 200 ok"},
	{"CTL-64/block", "role", "root.a.*", "", "GET", RolePaths + "/root.a/bulkProperties", "allow 200 ok"},
	{"CTL-64/one-object", "role", "root.a", "", "GET", RolePaths + "/root.a/bulkProperties",
		"deny 403 subtree-not-granted"},
	{"CTL-64/one-object-head", "role", "root.a", "", "HEAD", RolePaths + "/root.a/bulkProperties",
		"deny 403 subtree-not-granted"},
	{"CTL-64/one-object-alone", "role", "root.a", "", "GET",
		RolePaths + "/root.a/bulkProperties?recurse=false", "allow 200 ok"},
	{"CTL-64/another-object", "role", "root.a", "", "GET", RolePaths + "/root.b/bulkProperties?recurse=false",
		"deny 403 path-not-granted"},
	{"CTL-64/another-object-with-all", "role", "root.a.*", "", "GET", RolePaths + "/root.b/bulkProperties",
		"deny 403 path-not-granted"},
	{"CTL-64/both", "role", "root.a", "", "GET", RolePaths + "/root.a/bulkProperties?recurse=false&recurse=true",
		"deny 403 subtree-not-granted"},
	{"CTL-64/not-bulk", "role", "root.a", "", "GET", RolePaths + "/root.a/properties?recurse=true", "allow 200 ok"},
	{"CTL-64/written", "role", "", "root.a", "PATCH", RolePaths + "/root.a/bulkProperties", "allow 200 ok"},

	{"CTL-65/the-target-alone", "role", "", "root.a", "PUT", RolePaths + "/root.a/bulkProperties", "allow 200 ok"},
	{"CTL-65/another-target", "role", "", "root.a.*", "PUT", RolePaths + "/root/bulkProperties",
		"deny 403 path-not-granted"},

	{"CTL-66/url-form-no-longer", "role", "rolePaths/root*", "", "GET", RolePaths + "/root",
		"deny 403 path-not-granted"},
	{"CTL-66/url", "url", "rolePaths/root*", "", "GET", RolePaths + "/root/bulkProperties", "allow 200 ok"},
	{"CTL-66/url-list", "url", "rolePaths", "", "GET", RolePaths, "allow 200 ok"},
	{"CTL-66/url-alone", "url", "root.*", "", "GET", RolePaths + "/root", "deny 403 path-not-granted"},
	{"CTL-66/both-url", "both", "rolePaths/root*", "", "GET", RolePaths + "/root/bulkProperties", "allow 200 ok"},
	{"CTL-66/both-role", "both", "root.a", "", "GET", RolePaths + "/root.a", "allow 200 ok"},
	{"CTL-66/both-subtree", "both", "root.a", "", "GET", RolePaths + "/root.a/bulkProperties",
		"deny 403 subtree-not-granted"},
	{"CTL-66/both-neither", "both", "root.a rolePaths/root.b", "", "GET", RolePaths + "/root.c",
		"deny 403 path-not-granted"},

	{"CTL-19/prefix", "role", "b:root.a", "", "GET",
		"/x-nmos/configuration/v1.0/slot2B/rolePaths/root.a", "allow 200 ok"},
	{"CTL-19/no-prefix", "role", "root.a", "", "GET",
		"/x-nmos/configuration/v1.0/slot2B/rolePaths/root.a", "allow 200 ok"},
	{"CTL-19/another-prefix", "role", "c:root.a", "", "GET", "/x-nmos/configuration/v1.0/slot2B/rolePaths/root.a",
		"deny 403 path-not-granted"},
	{"CTL-19/prefix-elsewhere", "role", "b:root.a", "", "GET", RolePaths + "/root.a", "deny 403 path-not-granted"},
	{"CTL-19/subtree", "role", "b:root.a.*", "", "GET",
		"/x-nmos/configuration/v1.0/slot2B/rolePaths/root.a/bulkProperties", "allow 200 ok"},
	{"CTL-19/subtree-not", "role", "b:root.a", "", "GET",
		"/x-nmos/configuration/v1.0/slot2B/rolePaths/root.a/bulkProperties", "deny 403 subtree-not-granted"},
}

// ConfigurationToken returns the token of a row of Configuration; "-" is the API's name in scope and nothing else.
func ConfigurationToken(read, write string) mint.Options {
	if read == "-" {
		return mint.Options{Scope: "configuration", Permissions: map[string]mint.Permission{}}
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
	return mint.Options{Permissions: map[string]mint.Permission{
		"configuration": {Read: split(read), Write: split(write)}}}
}
