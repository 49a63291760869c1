package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
)

// hostile returns files of 256 KiB that would be dear to read, or nearly are a configuration.
func hostile() map[string]string {
	fill := func(head, unit string) string {
		return head + strings.Repeat(unit, (maxConfigBytes-len(head))/len(unit))
	}
	count := func(head, format string) string {
		var b strings.Builder
		b.WriteString(head)
		for i := 0; ; i++ {
			line := fmt.Sprintf(format, i)
			if b.Len()+len(line) > maxConfigBytes {
				return b.String()
			}
			b.WriteString(line)
		}
	}
	long := strings.Repeat("k", 100<<10)
	return map[string]string{
		"brackets":                fill("x = ", "["),
		"braces":                  fill("x = ", "{a="),
		"dots":                    fill("x", ".x"),
		"dots in a header":        fill("[x", ".x"),
		"tables":                  count("", "[t%d]\n"),
		"nested tables":           count("", "[a.b.c.d.e.f.g%d]\n"),
		"tables of one key":       fill("", "[device.names.a]\n"),
		"lists of tables":         fill("", "[[a]]\n"),
		"dotted keys":             count("", "x.a%d=1\n"),
		"dotted keys of a key":    count("[device]\n", "names.a%d=1\n"),
		"keys under a long name":  count("["+long+"]\n", "a%d=1\n"),
		"keys in a long table":    count("x={"+long+"={", "a%d=1,"),
		"keys in a table":         count("x={", "a%d=1,"),
		"tables in a list":        fill("x=[", "{a=1},"),
		"sub-tables in a list":    fill("x=[", "{a.b.c.d.e.f=1},"),
		"unknown keys":            count("", "k%d=1\n"),
		"a key again":             fill("", "mode=\"off\"\n"),
		"unknown key again":       fill("", "a=1\n"),
		"bad entries":             fill("device.names=[", "1,"),
		"good entries":            count("sockets.allow_uids=[", "%d,"),
		"bad entries on lines":    fill("device.names=[\n", "\"*\",\n"),
		"long string":             fill("device.realm=\"", "a"),
		"escapes":                 fill("device.realm=\"", `\u0041`),
		"line ends in a string":   fill("device.realm=\"\"\"", "\\\n"),
		"quotes":                  fill("x=", `"""" `),
		"strings, one on another": fill("x=", `"a"`),
		"comments":                fill("", "#\n"),
		"blank lines":             fill("", "\n"),
		"carriage returns":        fill("", "\r"),
		"digits":                  fill("x=", "1"),
		"underscores":             fill("x=", "1_"),
		"commas":                  fill("x=[", ","),
		"no values":               fill("", "a=\n"),
		"quotation marks":         fill("", "'"),
		"long key":                long + long + "=1",
		"distant bad line":        fill("", "#\n")[:maxConfigBytes-10] + "\nx = = 1",
		"NUL":                     fill("", "\x00"),
	}
}

// A file of the greatest length costs little time and memory, whatever it holds, and the daemon says what is wrong with
// it. What is measured is what is allocated: it is the same on each machine, and what takes the square of the length
// exceeds it by far.
func TestHostileFileIsCheap(t *testing.T) {
	// The library keeps 80 bytes for each of up to 131,000 names in a statement, in an array that doubles as it grows.
	const most = 32 << 20
	for name, text := range hostile() {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, err := Parse("f", []byte(text))
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > most {
				t.Errorf("got %d bytes allocated, want at most %d", got, most)
			}
			if took > 30*time.Second { // some ms; what takes the square of the length takes minutes
				t.Errorf("got %v, want less than 30 s", took)
			}
			t.Logf("%v, %d KiB", took, (after.TotalAlloc-before.TotalAlloc)>>10)
			if err == nil {
				if name != "comments" && name != "blank lines" {
					t.Error("got no error, want one")
				}
				return
			}
			if got := len(err.Error()); got > 100*(maxMistakes+1) {
				t.Errorf("got an error of %d bytes", got)
			}
			for _, line := range strings.Split(err.Error(), "\n") {
				if !strings.HasPrefix(line, "f:") {
					t.Errorf("got %q, want f:line: …", line)
				}
			}
		})
	}
}

// whole is what a file says if the library reads it in one piece: a slow twin of Parse that knows no lines.
func whole(data []byte) (c *Config, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%v", fault)
		}
	}()
	var all map[string]any
	if _, err := toml.Decode(string(data), &all); err != nil {
		return nil, err
	}
	c = Default()
	for _, k := range Keys(c) {
		table := all
		if k.Section != "" {
			section, is := all[k.Section].(map[string]any)
			if _, there := all[k.Section]; there && !is {
				return nil, fmt.Errorf("%s is not a section", k.Section)
			}
			table = section
		}
		if value, there := table[k.Name]; there {
			if err := k.set(new(Config), value); err != nil {
				return nil, err
			}
			delete(table, k.Name)
		}
	}
	for name, value := range all {
		section, is := value.(map[string]any)
		if !is || len(section) > 0 || !(&reader{keys: Keys(c)}).isSection(name) {
			return nil, fmt.Errorf("%s is not known", name)
		}
	}
	r := reader{cfg: c, keys: Keys(c)}
	r.crossChecks()
	return c, r.mistakes.err()
}

// strict is what Parse refuses and the library lets pass: TOML has a section once, and no configuration is that large.
var strict = regexp.MustCompile(`already|over \d+|too many parts|too deeply|not UTF-8`)

// Whatever the file holds, it is read as the library reads it in one piece, or refused with its name and a line in
// every line of the message.
func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("../../configs/nmos-authd.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	for _, s := range []string{
		"", "[", "a.b.c=1", "[[x]]", "device={names=[{a=1}]}", "x=\"\"\"\\", "''''''", "a=1979-05-27", "\"\"=1",
		"[\"\"]", "[device]\nnames=[[\"a\"]]", "mode=\"\\U00110000\"",
		"\"mode\" = 'off'", "a={b={c={d={}}}}", "x=nan", "\x00", "\xff\xfe",
		"discovery.mode.x=1", "a=0x", "[[device.names]]", "servers.\"\".x=1",
		"device = {\n realm = '#', # a\n names = ['[']\n}\n",
		"[log]\nlevel = '''\ninfo'''\n[device]\nrealm=\"\"\"\\\n  a\\\"\"\"\"\" # b",
		"log.level='warn'\n[log]\n[device]\r\nrealm='a'\r\n",
		"[device]\n[device]", "device.names=[]\ndevice={}", "audit = {files=1}\n[audit]",
		"\ufeffmode='off'\n\ufefflog.level='info'",
		"[ 'log' ] # x\n  \"le\\u0076el\" = \"warn\"", "a=1 b=2", "[log] level='info'",
		"mode='off'\rlog.level='info'", "# \x01\nmode='off'",
		"[sockets]\nallow_uids=[0x10, 1_0,\n 3 # c\n,]\n[sandbox]\nlandlock=false",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Parse("name", data)
		if (got == nil) == (err == nil) {
			t.Fatalf("config %v, error %v", got, err)
		}
		want, wholeErr := whole(data)
		switch {
		case err == nil && wholeErr != nil:
			t.Fatalf("got a configuration, want an error: %v", wholeErr)
		case err == nil && !reflect.DeepEqual(got, want):
			t.Fatalf("got\n%+v\nwant\n%+v", got, want)
		case err == nil:
			return
		case wholeErr == nil && !strict.MatchString(err.Error()):
			t.Fatalf("got %v, want a configuration", err)
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if !strings.HasPrefix(line, "name:") {
				t.Fatalf("a line without its place: %q in %q", line, err)
			}
		}
	})
}
