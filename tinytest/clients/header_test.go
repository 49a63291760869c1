package clients_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"nmosauthd/agent/wire"
)

func header(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(clientDir + "/nmos_authz.h")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The reasons that the header names are the daemon's, with the statuses that it gives them.
func TestHeaderReasons(t *testing.T) {
	statuses := map[string]int{}
	for r := range wire.Reason(wire.Reasons) {
		statuses[r.Info().Code] = r.Info().Status
	}
	defines := regexp.MustCompile(
		`#define NMOS_AUTHZ_REASON_(\w+) "([a-z-]+)" +/\* (allow|\d+)`).FindAllStringSubmatch(header(t), -1)
	if n := strings.Count(header(t), "#define NMOS_AUTHZ_REASON_"); len(defines) != n || n < 10 {
		t.Fatalf("read %d of %d reasons", len(defines), n)
	}
	for _, d := range defines {
		status, known := statuses[d[2]]
		want := d[3]
		if want == "allow" {
			want = "200"
		}
		if !known || strconv.Itoa(status) != want {
			t.Errorf("%s %q: the header says %s, the daemon %d", d[1], d[2], d[3], status)
		}
		if strings.ToUpper(strings.ReplaceAll(d[2], "-", "_")) != d[1] {
			t.Errorf("NMOS_AUTHZ_REASON_%s is not named after %q", d[1], d[2])
		}
	}
}

func TestHeaderLimits(t *testing.T) {
	for name, want := range map[string]int{
		"PACKET_MAX":      wire.DefaultPacketLimit,
		"SOCKET_PATH_MAX": 107,
		"RETRY_AFTER":     1,
	} {
		define := regexp.MustCompile(`#define NMOS_AUTHZ_` + name + ` (\d+)\n`).FindStringSubmatch(header(t))
		if define == nil || define[1] != strconv.Itoa(want) {
			t.Errorf("%s: the header says %q; want %d", name, define, want)
		}
	}
	// The id is a 64-bit counter in decimal.
	if longest := len(strconv.FormatUint(1<<64-1, 10)); longest > wire.MaxID {
		t.Errorf("an id of %d bytes; the daemon takes %d", longest, wire.MaxID)
	}
}

// The version is written twice, and this package counts the errors as the header does.
func TestHeaderConstants(t *testing.T) {
	defined := regexp.MustCompile(`VERSION "(\d+)\.(\d+)\.(\d+)"\n#define NMOS_AUTHZ_VERSION_NUMBER (\d+)`)
	version := defined.FindStringSubmatch(header(t))
	if version == nil {
		t.Fatal("the header has no version")
	}
	number := 0
	for _, part := range version[1:4] {
		n, err := strconv.Atoi(part)
		if err != nil {
			t.Fatal(err)
		}
		number = number*100 + n
	}
	if version[4] != strconv.Itoa(number) {
		t.Errorf("version number %s; want %d", version[4], number)
	}
	_, enum, _ := strings.Cut(header(t), "enum nmos_authz_error {")
	enum, _, _ = strings.Cut(enum, "}")
	names := regexp.MustCompile(`NMOS_AUTHZ_([A-Z_]+)(?: = 0)?,? +/\*`).FindAllStringSubmatch(enum, -1)
	want := []string{answered: "OK", badCall: "BAD_CALL", badValue: "BAD_VALUE", tooLong: "TOO_LONG",
		refused: "REFUSED", unreachable: "UNREACHABLE", connectionLost: "CONNECTION_LOST", timedOut: "TIMEOUT",
		badReply: "BAD_REPLY"}
	if len(names) != len(want) {
		t.Fatalf("the header has %d errors; want %d", len(names), len(want))
	}
	for i, name := range names {
		if name[1] != want[i] {
			t.Errorf("error %d is %s; want %s", i, name[1], want[i])
		}
	}
}

// Every error has a text of its own; what is none has one too.
func TestErrorTexts(t *testing.T) {
	p := startProbe(t, probeProgram(t), "/nowhere", patience)
	seen := map[string]bool{}
	for i := range badReply + 2 {
		text := p.tell("strerror", strconv.Itoa(i)).text["text"]
		if text == "" || seen[text] || (text == "unknown error") != (i > badReply) {
			t.Errorf("error %d: %q", i, text)
		}
		seen[text] = true
	}
}
