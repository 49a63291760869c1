package webserver_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// mongooseDir is where .ci/run puts Mongoose's two files, which Debian does not have.
const mongooseDir = "../../build/mongoose"

// mongooseObject compiles Mongoose once, as it comes: what it does by itself is not ours.
var mongooseObject = sync.OnceValues(func() (string, error) {
	object := filepath.Join(buildDir, "mongoose.o")
	out, err := exec.Command("cc", "-g", "-DMG_MAX_HTTP_HEADERS=64", "-c", "-o", object,
		mongooseDir+"/mongoose.c").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return object, err
})

// newMongoose is a web server that has yet to be compiled.
func newMongoose(t *testing.T) *front {
	f := newProgram(t, "mongoose", "apt-get install gcc, and see mongoose in .ci/run", mongooseDir+"/mongoose.c")
	f.hangsUp = true
	return f
}

func (f *front) buildMongoose(main string) {
	f.t.Helper()
	object, err := mongooseObject()
	if err != nil {
		f.t.Fatal(err)
	}
	f.build(main, "-isystem", mongooseDir, "-DMG_MAX_HTTP_HEADERS=64", object)
}

// startMongoose runs a firmware of the test's own that serves with Mongoose, and asks by the C client and the file
// beside it.
func startMongoose(t *testing.T, r *rig) *front {
	f := newMongoose(t)
	f.buildMongoose("testdata/mongoose.c")
	f.start("http://"+f.addr, r.dir.Authz(), r.devicePort())
	return f
}

// mongooseLines compiles the program of the README.
func mongooseLines(t *testing.T, r *rig) *front {
	f := newMongoose(t)
	f.lines("../platform/cclient/mongoose/README.md",
		"main.c", "/run/nmos-authd/authz.sock", r.dir.Authz(), "0.0.0.0:80", f.addr, ", 500)", ", 8000)")
	f.buildMongoose(filepath.Join(f.dir, "main.c"))
	f.start()
	return f
}

// mongooseDifferences are mostly requests that Mongoose refuses before it asks.
var mongooseDifferences = []difference{
	{`TOK-5/(token-100-kb|payload-nested-200000-deep)`, "400", "the C client says so"},
	{`TOK-1/payload-tab|header with a delete`, "400", "a control character for the C client"},
	{
		`TOK-1/(payload-(carriage-return|nul|newline)|signature-carriage-return-after)|header (twice.*|space before colon|folded)`,
		"0",
		"Mongoose ends the connection without a word if a header is not to its liking",
	},
	{`target.* \?x`, "0", "nor this target"},
	{
		`target.* (x|\*\*|@?nmos.*|/x-nmos/node/v1\.3/self%(2|zz)?|http://node-1\.example\.com#x)`,
		"400",
		"the device's HTTP server says so before the device can ask",
	},
	{`target.* http://node-1\.example\.com\?x`, "400", "the file beside the C client wants a path there"},
	{`target.* (http://|ftp://.*)`, "200", "it judges and serves the path, whatever the scheme and host"},
	{`body (of two lengths|of no length|with a length and chunked)`, "0", "Mongoose does not choose a body's length"},
	{`handshake asked for of two protocols`, "426", "the test's firmware passes on websocket alone"},
	{`model dots out of it`, "401", "the C client takes the target as it came for one of IS-14"},
}
