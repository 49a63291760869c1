package decide

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"nmosauthd/tinytest/spec"
)

const rolePaths = "/x-nmos/configuration/v1.0/rolePaths"

// Where the paths of IS-14's API lead.
func TestFindObject(t *testing.T) {
	spec.Rules(t, "CTL-60")
	rules := Rules{Controls: Controls{Models: []Model{{Name: []byte("slot2B"), Prefix: []byte("b")}}}}
	for path, want := range map[string]Place{
		"/x-nmos/configuration":                {Kind: Base},
		"/x-nmos/configuration/v1.0":           {Kind: Base},
		"/x-nmos/configuration/v1.0/":          {Kind: Base},
		"/x-nmos/configuration/v1.0/slot2B":    {Kind: Base},
		"/x-nmos/configuration/v1.0/a-_9/":     {Kind: Base},
		"/x-nmos/configuration/v1.0/a.b":       {Kind: RolePath},
		"/x-nmos/configuration/v1.0/a%20b":     {Kind: RolePath},
		"/x-nmos/configuration/v1.0/a/b":       {Kind: RolePath},
		"/x-nmos/configuration/v1.0/a/b/root":  {Kind: RolePath},
		"/x-nmos/configuration/v1/rolePaths":   {Kind: BadVersion},
		rolePaths:                              {Kind: RolePaths},
		rolePaths + "/":                        {Kind: RolePaths},
		rolePaths + "/root":                    {Kind: RolePath, Role: []byte("root")},
		rolePaths + "/root/":                   {Kind: RolePath, Role: []byte("root")},
		rolePaths + "/rolePaths/root":          {Kind: RolePath, Role: []byte("rolePaths")},
		rolePaths + "/root.a%20b/methods/4m1":  {Kind: RolePath, Role: []byte("root.a%20b")},
		rolePaths + "/root/bulkProperties":     {Kind: RolePath, Role: []byte("root"), Subtree: true},
		rolePaths + "/root/bulkProperties/":    {Kind: RolePath, Role: []byte("root"), Subtree: true},
		rolePaths + "/root/bulkProperties/x":   {Kind: RolePath, Role: []byte("root")},
		rolePaths + "/root/properties/1p1":     {Kind: RolePath, Role: []byte("root")},
		rolePaths + "/bulkProperties":          {Kind: RolePath, Role: []byte("bulkProperties")},
		"/x-nmos/configuration/v1.0/RolePaths": {Kind: Base},

		"/x-nmos/configuration/v1.0/slot2B/rolePaths": {Kind: RolePaths, Model: []byte("b")},
		"/x-nmos/configuration/v1.0/slot2B/rolePaths/root.tx-1": {Kind: RolePath, Model: []byte("b"),
			Role: []byte("root.tx-1")},
		"/x-nmos/configuration/v1.0/slot3/rolePaths/root": {Kind: RolePath, Role: []byte("root")},
		"/x-nmos/configuration/v1.0/a%2Db/rolePaths/root": {Kind: RolePath, Role: []byte("root")}, // normalised
		"/x-nmos/configuration/v1.0/a~b/rolePaths/root":   {Kind: RolePath},
	} {
		normal, ok := Normalize(nil, []byte(path))
		got := rules.Find(normal)
		if !ok || got.Kind != want.Kind || string(got.Role) != string(want.Role) ||
			string(got.Model) != string(want.Model) || got.Subtree != want.Subtree {
			t.Errorf("%s: got kind %d, model %q, role %q, subtree %v; want %d, %q, %q, %v", path,
				got.Kind, got.Model, got.Role, got.Subtree, want.Kind, want.Model, want.Role, want.Subtree)
		}
	}
}

// What counts as recurse=false: nothing that any server could read as something else.
func TestRecurse(t *testing.T) {
	spec.Rules(t, "CTL-64")
	for query, want := range map[string]bool{
		"?recurse=false": false, "?a=b&recurse=false": false, "?recurse=false&a": false,
		"?recurse=false&recurse=false": false, "?recurs=true&recurse=false": false,
		"?xrecurse=true&recurse=false": false, "?&&recurse=false&": false, "": true, "?": true, "?recurse": true,
		"?recurse=": true, "?recurse=true": true, "?recurse=False": true, "?recurse=0": true, "?recurse=false ": true,
		"?recurse=f%61lse": true, "?Recurse=false": true, "?recurse=true&recurse=false": true,
		"?recurse=false&recurse=true": true, "?recurse=false&recurse": true, "?recurse=false&Recurse=true": true,
		"?recurse=false&%72ecurse=true": true, "?recurse=false&RECURSE%3Dx": true, "?recurse=false&+recurse=true": true,
		"?recurse=false&%20recurse=1": true, "?recurse=false&recurse[]=true": true, "?recurse=false;recurse=true": true,
		"?a;recurse=true&recurse=false": true, "?recurse=false#": true, "?#&recurse=false": true,
		"?recurse=false&rec%75rse=1": true, "?recurse=false&%=1": true, "?recurse=false&a%zz": false,
		"?recurse=false&rec%zz": true, "?x?recurse=false": true,
	} {
		target := rolePaths + "/root/bulkProperties" + query
		path, _ := Normalize(nil, []byte(target))
		if got := (&Rules{}).Find(path).Query([]byte(target)).Subtree; got != want {
			t.Errorf("%s recurses: got %v, want %v", query, got, want)
		}
	}
	if place := (&Rules{}).Find([]byte(rolePaths + "/root")).Query([]byte(rolePaths +
		"/root?recurse=true")); place.Subtree {
		t.Error("a path other than bulkProperties recurses")
	}
}

var objectPath = regexp.MustCompile(
	`^/x-nmos/configuration/v[0-9]+\.[0-9]+(?:/([A-Za-z0-9_-]+))?/rolePaths/([^/]+)(?:/(.*[^/]))?/?$`)

// A path of IS-14's API leads where its twin says, which is a regular expression and the standard library's reading of
// a query.
func FuzzRolePaths(f *testing.F) {
	spec.Rules(f, "CTL-60", "CTL-64")
	for _, target := range []string{
		rolePaths, rolePaths + "/root", rolePaths + "/root/bulkProperties",
		rolePaths + "/root.a%20b/bulkProperties?recurse=false",
		"/x-nmos/configuration/v1.0/slot2B/rolePaths/root.tx-1/methods/1m1",
		rolePaths + "/rolePaths/bulkProperties?a&recurse=true",
		rolePaths + "/root/bulkProperties?recurse=false&%52ecurse=true", rolePaths + "/%72oot/bulk%50roperties/",
		rolePaths + "/a/../root/bulkProperties?recurse=false&recurse=false",
	} {
		f.Add(target)
	}
	rules := Rules{PathBytes: 4096}
	f.Fuzz(func(t *testing.T, target string) {
		path, ok := Normalize(nil, []byte(target))
		if !ok || len(path) > 4096 {
			return
		}
		got := rules.Find(path).Query([]byte(target))
		m := objectPath.FindStringSubmatch(string(path))
		if m != nil && m[1] == "rolePaths" { // the first counts
			const rolePath = `^(/x-nmos/configuration/v[0-9.]+)(?:/rolePaths)/([^/]+)(?:/(.*[^/]))?/?$`
			m = regexp.MustCompile(rolePath).FindStringSubmatch(string(path))
		}
		want := ""
		if m != nil {
			want = m[2]
		}
		if string(got.Role) != want {
			t.Fatalf("%q: got the role %q, want %q", target, got.Role, want)
		}
		if want == "" {
			return
		}
		bulk := m[3] == "bulkProperties"
		_, query, _ := strings.Cut(target, "?")
		values, _ := url.ParseQuery(query)
		said := values["recurse"]
		only := len(said) > 0 && !slices.ContainsFunc(said, func(v string) bool { return v != "false" })
		switch {
		case !bulk && got.Subtree:
			t.Errorf("%q: it recurses, and is not bulkProperties", target)
		case bulk && !got.Subtree && !only:
			t.Errorf("%q: it does not recurse, and to url.ParseQuery it says %q", target, said)
		case bulk && got.Subtree && query == "recurse=false":
			t.Errorf("%q: it recurses", target)
		}
	})
}

// What an object of IS-14's API needs, in each form of specifiers. If there are several device models, a specifier
// without a prefix is wide, since it holds for all of them (CTL-19).
func TestNeedsOfObjects(t *testing.T) {
	spec.Rules(t, "CTL-19", "CTL-61", "CTL-63", "CTL-64", "CTL-66")
	for _, c := range []struct {
		access            Access
		target            string
		role, inURL, both string // "" if no claim grants it
	}{
		{Read, rolePaths + "/root.a%20b/properties", "read root.a b wide", "read rolePaths/root.a%20b/properties",
			"read root.a b wide"},
		{Write, rolePaths + "/root/bulkProperties", "write root wide",
			"write rolePaths/root/bulkProperties", "write root wide"},
		{Read, rolePaths + "/root/bulkProperties", "read root.* wide", "read rolePaths/root/bulkProperties",
			"read root.* wide"},
		{Read, rolePaths + "/root/bulkProperties?recurse=false",
			"read root wide", "read rolePaths/root/bulkProperties", "read root wide"},
		{Read, rolePaths, "read root wide", "read rolePaths", "read root wide"},
		{Write, rolePaths, "write root.* wide", "write rolePaths", "write root.* wide"},
		{Read, "/x-nmos/configuration/v1.0/slot2B/rolePaths/root",
			"read b:root", "read slot2B/rolePaths/root", "read b:root"},
		{Read, "/x-nmos/configuration/v1.0/a/b", "", "read a/b", "read a/b"},
		{Preflight, rolePaths, "", "", ""},
	} {
		for i, want := range []string{c.role, c.inURL, c.both} {
			rules := Rules{Forms: Forms(i), Controls: Controls{
				Models: []Model{{Name: []byte("slot2B"), Prefix: []byte("b")}}}}
			path, _ := Normalize(nil, []byte(c.target))
			n, ok := rules.Needs(c.access, rules.Find(path).Query([]byte(c.target)))
			got := strings.TrimSpace(n.Permission + " " + string(n.Specifier))
			if n.Wide {
				got += " wide"
			}
			if ok != (want != "") || ok && got != want {
				t.Errorf("%s, form %d: got %q, %v; want %q", c.target, i, got, ok, want)
			}
		}
	}
}
