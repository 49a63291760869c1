package daemon

import (
	"bytes"
	"log"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"
)

// What a package writes to the standard logger is one line of the log, for debugging, whatever a server put into it.
func TestStandardLogIsTaken(t *testing.T) {
	var b bytes.Buffer
	logger, level := newLogger(zapcore.AddSync(&b))
	restore, err := takeStdLog(logger)
	if err != nil {
		t.Fatal(err)
	}
	defer restore()
	log.Print("Unsolicited response\n\x1b[31m")
	if b.Len() != 0 {
		t.Errorf("got %q at level info, want nothing", b.String())
	}
	level.Store(int32(zapcore.DebugLevel))
	log.Print("Unsolicited response\n\x1b[31m")
	if got := b.String(); strings.Count(got, "\n") != 1 || strings.Contains(got, "\x1b") ||
		!strings.Contains(got, `"level":"debug"`) {
		t.Errorf("got %q, want one line of debugging", got)
	}
}
