package inventory_test

import (
	"fmt"
	"strings"
	"testing"

	"nmosauthd/agent/inventory"
	"nmosauthd/tinytest/spec"
)

const (
	senderID = "6f1e0000-0000-4000-8000-000000000031"
	sourceID = "6f1e0000-0000-4000-8000-000000000021"
)

// good is a document with something of everything.
const good = `{
  "resources": [
    {"kind": "sender", "name": "out-1", "id": "` + senderID + `"},
    {"kind": "receiver", "name": "out-1", "id": "` + senderID + `"},
    {"kind": "meter", "name": 1, "id": "` + sourceID + `"},
    {"kind": "source", "name": "Mikrofon ü 1%", "id": "` + sourceID + `"},
    {"kind": "gpio", "name": "Tür 1"},
    {"kind": "gpio", "name": "7", "write": "/other/{name}"},
    {"kind": "button", "name": "a/b", "read": "/panel"},
    {"kind": "meter", "name": "Both", "id": "` + sourceID + `", "read": "/m/{id}/{name}", "write": "/m/{id}/gain"}
  ],
  "kinds": {"gpio": {"read": "/gpio/{name}", "write": "/gpio/{name}/level"}, "source": {"read": "/s/{id}"}, "none": {}}
}`

func parse(tb testing.TB, document string) *inventory.Table {
	tb.Helper()
	table, err := inventory.Parse([]byte(document))
	if err != nil {
		tb.Fatal(err)
	}
	return table
}

// find returns the path, or "-".
func find(table *inventory.Table, kind, name string, write bool) string {
	path, ok := table.Find([]byte(kind), []byte(name), write)
	if !ok {
		return "-"
	}
	return string(path)
}

func TestFind(t *testing.T) {
	spec.Rules(t, "PATH-5", "PATH-8", "PATH-11")
	table := parse(t, good)
	if table.Len() != 8 {
		t.Errorf("%d resources", table.Len())
	}
	const single = "/x-nmos/connection/v1.1/single/"
	for _, c := range []struct{ kind, name, read, write string }{
		{"sender", "out-1", single + "senders/" + senderID + "/active", single + "senders/" + senderID + "/staged"},
		{"receiver", "out-1", single + "receivers/" + senderID + "/active",
			single + "receivers/" + senderID + "/staged"},
		{"meter", "1", "/x-nmos/events/v1.0/sources/" + sourceID + "/state", "-"},
		{"source", "Mikrofon ü 1%", "/s/" + sourceID, "-"},
		{"gpio", "Tür 1", "/gpio/T%C3%BCr%201", "/gpio/T%C3%BCr%201/level"},
		{"gpio", "7", "/gpio/7", "/other/7"},
		{"button", "a/b", "/panel", "-"},
		{"meter", "Both", "/m/" + sourceID + "/Both", "/m/" + sourceID + "/gain"},
		// Bytes are compared as they are.
		{"meter", "both", "-", "-"},
		{"Meter", "1", "-", "-"},
		{"meter", "01", "-", "-"},
		{"meter", "1 ", "-", "-"},
		{"meter", "out-1", "-", "-"},
		{"source", "Mikrofon u\u0308 1%", "-", "-"}, // not the same bytes, though it looks the same
		{"gpio", "T%C3%BCr%201", "-", "-"},
		{"none", "x", "-", "-"},
		{"", "", "-", "-"},
	} {
		if read, write := find(table, c.kind, c.name, false), find(table, c.kind, c.name, true); read != c.read ||
			write != c.write {
			t.Errorf("%s %q: %s and %s", c.kind, c.name, read, write)
		}
	}
	var zero inventory.Table
	if got := find(&zero, "meter", "1", false); got != "-" || zero.Len() != 0 {
		t.Errorf("the zero table finds %q", got)
	}
}

// What is found cannot grow into its neighbour.
func TestFindCapsItsPaths(t *testing.T) {
	table := parse(t, good)
	path, _ := table.Find([]byte("gpio"), []byte("7"), false)
	_ = append(path, "zzzzzzzzzzzz"...)
	if got := find(table, "gpio", "7", true); got != "/other/7" {
		t.Errorf("the neighbour became %s", got)
	}
}

// A mistake refuses the whole document, with a line that says where and what.
func TestMistakes(t *testing.T) {
	spec.Rules(t, "PATH-9")
	resource := func(members string) string { return "{\"resources\": [\n" + members + "]}" }
	meter := func(more string) string {
		return resource(`{"kind": "meter", "name": "in-1", "id": "` + sourceID + `"` + more + `}`)
	}
	reading := func(template string) string { return meter(`, "read": "` + template + `"`) }
	for _, c := range []struct{ name, document, want string }{
		{"empty", "", "line 1: "},
		{"no JSON", "senders: 3", "line 1: not JSON"},
		{"cut short", good[:len(good)/2], "not JSON"},
		{"cut at the end", good[:len(good)-1], "not JSON"},
		{"two documents", `{"resources":[]}{}`, "data after the end of the document"},
		{"a list", "[]", "line 1: the document must be an object"},
		{"null", "null", "the document must be an object"},
		{"a byte order mark", "\ufeff" + good, "not JSON"},
		{"not UTF-8", meter(", \"read\": \"/\xff\""), "not JSON"},
		{"half a surrogate", reading(`/\ud800`), "not JSON"},
		{"no resources", `{"kinds": {}}`, "the document has no resources"},
		{"resources null", `{"resources": null}`, "resources must be a list"},
		{"resources an object", `{"resources": {}}`, "resources must be a list"},
		{"unknown member", `{"resources": [], "Resources": []}`, `unknown member "Resources" of the document`},
		{"resources twice", `{"resources": [], "resources": []}`, "not JSON with each member once"},
		{"another case", `{"Resources": []}`, `unknown member "Resources" of the document`},
		{"kinds a list", `{"resources": [], "kinds": []}`, "kinds must be an object"},
		{"kind twice", "{\"resources\": [],\n\"kinds\": {\"a\": {},\n\"a\": {}}}",
			"line 3: not JSON with each member once"},
		{"kind with another member", `{"resources": [], "kinds": {"a": {"own": "/"}}}`,
			`unknown member "own" of the kind "a"`},
		{"kind without a name", `{"resources": [], "kinds": {"": {}}}`, "the kind \"\": it must be 1 to 64 bytes"},
		{"kind with a long name", `{"resources": [], "kinds": {"` + strings.Repeat("k", 65) + `": {}}}`,
			"it must be 1 to 64 bytes"},
		{"kind with an unused bad template", `{"resources": [], "kinds": {"a": {"write": "a"}}}`,
			`the kind "a": the template "a"`},
		{"kind's template null", `{"resources": [], "kinds": {"a": {"write": null}}}`, "write must be text"},

		{"resource no object", resource("7"), "line 2: resource 1: it must be an object"},
		{"a path for a role path", meter(`, "control": "/x"`),
			`line 2: resource 1, meter "in-1": control "/x" is not a role path such as "root.meters.in-1", of at most 1024 bytes`},
		{"an empty role", meter(`, "control": "root..a"`),
			`line 2: resource 1, meter "in-1": control "root..a" is not a role path such as "root.meters.in-1", of at most 1024 bytes`},
		{"an empty role path", meter(`, "control": ""`), `line 2: resource 1: control is empty`},
		{"a role path that is too long", meter(`, "control": "` + strings.Repeat("r", 1025) + `"`),
			`line 2: resource 1, meter "in-1": control "` + strings.Repeat("r", 80) +
				`" is not a role path such as "root.meters.in-1", of at most 1024 bytes`},
		{"unknown member of a resource", meter(`, "Read": "/"`),
			`line 2: resource 1: unknown member "Read" (known are kind, name, id, read, write and control)`},
		{"member twice", meter(`, "name": "in-2"`), "not JSON with each member once"},
		{"no kind", resource(`{"name": "in-1"}`), "resource 1: kind is missing"},
		{"no name", resource(`{"kind": "meter"}`), "resource 1: name is missing"},
		{"empty name", resource(`{"kind": "meter", "name": ""}`), "name is empty"},
		{"empty read", reading(""), "read is empty"},
		{"no id", resource("{\"kind\": \"meter\",\n \"name\": \"in-1\"\n}"),
			`line 4: resource 1, meter "in-1": id is missing, which the template "/x-nmos/events/v1.0/sources/{id}/state" needs`},
		{"id in capitals", meter(`},{"kind": "meter", "name": 2, "id": "` + strings.ToUpper(sourceID) + `"`),
			`resource 2, meter "2": id "6F1E`},
		{"id no UUID", resource(`{"kind": "meter", "name": 1, "id": "meter-1"}`), `id "meter-1" is not a UUID`},
		{"id without dashes",
			resource(`{"kind": "meter", "name": 1, "id": "` + strings.ReplaceAll(sourceID, "-", "0") + `"}`),
			"is not a UUID"},
		{"id a number", resource(`{"kind": "meter", "name": 1, "id": 7}`), "id must be text"},
		{"name true", resource(`{"kind": "meter", "name": true}`), "name must be text or a whole number"},
		{"name null", resource(`{"kind": "meter", "name": null}`), "name must be text or a whole number"},
		{"name a fraction", resource(`{"kind": "meter", "name": 1.5}`), "name must be text or a whole number"},
		{"name with an exponent", resource(`{"kind": "meter", "name": 1e3}`), "name must be text or a whole number"},
		{"name below zero", resource(`{"kind": "meter", "name": -1}`), "name must be text or a whole number"},
		{"name with a tab", resource(`{"kind": "meter", "name": "a\tb", "id": "` + sourceID + `"}`),
			"name must be 1 to 256 bytes without control"},
		{"name with a newline", resource(`{"kind": "meter", "name": "a\nallow 200", "read": "/a"}`),
			"name must be 1 to 256 bytes without control"},
		{"name of 257 bytes", resource(`{"kind": "meter", "name": "` + strings.Repeat("n", 257) + `"}`),
			"name must be 1 to 256 bytes"},
		{"kind of 65 bytes", resource(`{"kind": "` + strings.Repeat("k", 65) + `", "name": 1, "read": "/"}`),
			"kind must be 1 to 64 bytes"},
		{"kind with an escape", resource(`{"kind": "\u001b[2J", "name": 1, "read": "/"}`),
			`resource 1, \x1b[2J "1": kind must be`},
		{"kind unknown", resource(`{"kind": "metre", "name": 1}`), `the kind is unknown: name it in "kinds"`},
		{"kind without templates", `{"resources": [{"kind": "a", "name": 1}], "kinds": {"a": {}}}`,
			"neither the resource nor its kind has a template"},
		{"twice", resource(`{"kind": "a", "name": 1, "read": "/a"}, {"kind": "b", "name": 1, "read": "/a"}, {"kind": "a", "name": "1", "read": "/b"}`), `resource 3, a "1": the resource is listed twice`},

		{"template without a slash", reading("x"), "it must start with /"},
		{"template empty segment", reading("/a//b"), "no empty segment"},
		{"template backslash", reading(`/a\\b`), "could read differently"},
		{"template encoded slash", reading("/a%2Fb"), "no encoded slash"},
		{"template not ASCII", reading("/ü"), "could read differently"},
		{"template with a query", reading("/a?b"),
			`gives the path "/a?b", whose normal form is "/a": that alone may stand here`},
		{"template with dots", reading("/a/../b"), `whose normal form is "/b"`},
		{"template above the root", reading("/../b"), "could read differently"},
		{"template with needless encoding", reading("/%61"), `whose normal form is "/a"`},
		{"template with small hexadecimal", reading("/a%c3%bc"), `whose normal form is "/a%C3%BC"`},
		{"template with another placeholder", reading("/{ID}"), "has the unknown {ID} (known are {id} and {name})"},
		{"template with an empty placeholder", reading("/{}"), "has the unknown {} (known are {id} and {name})"},
		{"template not closed", reading("/{id"), "a { without a } behind it"},
		{"template not opened", reading("/id}"), "a } without a { before it"},
		{"template nested", reading("/{{id}}"), "has the unknown {{id} (known are"},
		{"template too long", reading("/" + strings.Repeat("a", 1024)), "is over 1024 bytes"},
		{"path too long", resource(`{"kind": "a", "name": "` + strings.Repeat("n", 256) +
			`", "read": "/{name}{name}{name}{name}{name}"}`), "is over 1024 bytes"},
		{"name with a slash", resource(`{"kind": "a", "name": "a/b", "read": "/{name}"}`),
			`gives the path "/a%2Fb", which no request may have`},
		{"name with a backslash", resource(`{"kind": "a", "name": "a\\b", "read": "/{name}"}`),
			"which no request may have"},
		{"name that goes up", resource(`{"kind": "a", "name": "..", "read": "/a/{name}"}`), `whose normal form is "/"`},
		{"name that stays", resource(`{"kind": "a", "name": ".", "read": "/a/{name}/b"}`),
			`whose normal form is "/a/b"`},
		{"name like a UUID with C1", resource(`{"kind": "a", "name": "\u0085", "read": "/a/{name}"}`),
			"which no request may have"},
		{"a path that all may read", reading("/x-nmos"),
			`gives the path "/x-nmos", which all may read without a token`},
		{"name that all may read", resource(`{"kind": "a", "name": "x-nmos", "read": "/{name}/"}`),
			"which all may read without a token"},
		{"kind that all may read",
			`{"resources": [], "kinds": {"a": {"write": "/"}}}`, "which all may read without a token"},
		{"too long", strings.Repeat(" ", inventory.MaxDocument+1), "the document is over 4194304 bytes"},
	} {
		table, err := inventory.Parse([]byte(c.document))
		if table != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		} else if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) || len(err.Error()) > 4096 {
			t.Errorf("%s: got error %q, want one line of text", c.name, err)
		}
	}
}

// many is a document of n meters.
func many(n int) string {
	var b strings.Builder
	b.WriteString(`{"resources": [`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n{\"kind\": \"meter\", \"name\": %d, \"id\": \"6f1e0000-0000-4000-8000-%012x\"}", i, i)
	}
	b.WriteString("\n]}")
	return b.String()
}

func TestLimits(t *testing.T) {
	if table := parse(t, many(inventory.MaxResources)); table.Len() != inventory.MaxResources ||
		!strings.HasSuffix(find(table, "meter", "16383", false), "-000000003fff/state") {
		t.Errorf("at the limit: %d resources", table.Len())
	}
	if table := parse(t, many(0)); table.Len() != 0 {
		t.Errorf("of none: %d resources", table.Len())
	}
	_, err := inventory.Parse([]byte(many(inventory.MaxResources + 1)))
	if err == nil || !strings.Contains(err.Error(), "there are more than 16384 resources") {
		t.Errorf("over the limit: %v", err)
	}
	kinds := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"k%d": {}`, i)
		}
		return `{"resources": [], "kinds": {` + strings.TrimPrefix(b.String(), ",") + `}}`
	}
	parse(t, kinds(256))
	if _, err = inventory.Parse([]byte(kinds(257))); err == nil ||
		!strings.Contains(err.Error(), "more than 256 kinds") {
		t.Errorf("257 kinds: %v", err)
	}
	// A short document whose paths are long.
	var b strings.Builder
	for i := range inventory.MaxResources {
		fmt.Fprintf(&b, `,{"kind": "a", "name": "%0200d"}`, i)
	}
	bomb := `{"kinds": {"a": {"read": "/{name}{name}{name}{name}{name}"}}, "resources": [` + b.String()[1:] + `]}`
	if _, err = inventory.Parse([]byte(bomb)); err == nil ||
		!strings.Contains(err.Error(), "over 4194304 bytes together") {
		t.Errorf("a document of %d bytes with paths of 16 MB: %v", len(bomb), err)
	}
	// At their limits a kind, a name and a path are good.
	parse(t, `{"resources": [{"kind": "`+strings.Repeat("k", 64)+`", "name": "`+strings.Repeat("ü", 128)+
		`", "read": "/`+strings.Repeat("p", 1023)+`"}]}`)
}

// Finding costs no allocation, whichever and how many there are.
func TestFindAllocatesNothing(t *testing.T) {
	table := parse(t, many(inventory.MaxResources))
	kind, names := []byte("meter"), [][]byte{[]byte("0"), []byte("16383"), []byte("16384"),
		[]byte(strings.Repeat("x", 256))}
	found := 0
	if got := testing.AllocsPerRun(100, func() {
		for _, name := range names {
			if _, ok := table.Find(kind, name, false); ok {
				found++
			}
		}
	}); got > 0 || found != 2*101 {
		t.Errorf("%v allocations, %d found", got, found)
	}
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{4, inventory.MaxResources} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table, kind, name := parse(b, many(n)), []byte("meter"), []byte("3")
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := table.Find(kind, name, false); !ok {
					b.Fatal("not found")
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	document := []byte(many(inventory.MaxResources))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := inventory.Parse(document); err != nil {
			b.Fatal(err)
		}
	}
}

// What a model of a device lists is written as a document and read back the same.
func TestDocument(t *testing.T) {
	resources := []inventory.Resource{
		{Kind: "sender", Name: `out "1"`, ID: senderID},
		{Kind: "meter", Name: "1", ID: sourceID, Read: "/a/{id}", Write: "/b"},
		{Kind: "fader", Name: "Röhre", Read: "/faders/{name}"},
	}
	document, err := inventory.Document(resources)
	if err != nil {
		t.Fatal(err)
	}
	table := parse(t, string(document))
	if table.Len() != 3 || find(table, "sender", `out "1"`, true) == "-" || find(table, "meter", "1", true) != "/b" ||
		find(table, "fader", "Röhre", false) != "/faders/R%C3%B6hre" {
		t.Errorf("%d resources of\n%s", table.Len(), document)
	}
	if document, err = inventory.Document(nil); err != nil || parse(t, string(document)).Len() != 0 {
		t.Errorf("of none: %q, %v", document, err)
	}
	if _, err = inventory.Document([]inventory.Resource{{Kind: "a", Name: "\xff", Read: "/"}}); err == nil {
		t.Error("a name that is not UTF-8 is written")
	}
	document, err = inventory.Document([]inventory.Resource{{Kind: "meter", Read: "/"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = inventory.Parse(document); err == nil || !strings.Contains(err.Error(), "resource 1: name is empty") {
		t.Errorf("without a name: %v", err)
	}
}
