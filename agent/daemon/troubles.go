package daemon

import (
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"nmosauthd/agent/status"
)

const (
	troublesKept = 10
	troubleBytes = 512 // of each, at most
)

// troubles are the log's last warnings and errors, for the status.
type troubles struct {
	mu   sync.Mutex
	kept []trouble // oldest first
}

type trouble struct {
	at    time.Time
	level string
	text  string
	times int
}

// watch returns a log that also keeps its warnings and errors here.
func (t *troubles) watch(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core { return &troubleCore{c, t} }))
}

// troubleCore passes a log's warnings and errors to troubles.
type troubleCore struct {
	zapcore.Core
	troubles *troubles
}

func (c *troubleCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c *troubleCore) With(fields []zapcore.Field) zapcore.Core {
	return &troubleCore{c.Core.With(fields), c.troubles}
}

func (c *troubleCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if e.Level >= zapcore.WarnLevel {
		c.troubles.add(e, fields)
	}
	return c.Core.Write(e, fields)
}

// add keeps a line with its text fields; a repetition of the last line is counted.
func (t *troubles) add(e zapcore.Entry, fields []zapcore.Field) {
	text := e.Message
	for _, f := range fields {
		value := f.String
		if f.Type == zapcore.ErrorType {
			value = f.Interface.(error).Error()
		}
		if value != "" {
			text += "; " + f.Key + ": " + value
		}
	}
	if len(text) > troubleBytes {
		text = strings.ToValidUTF8(text[:troubleBytes], "") + "..."
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if last := len(t.kept) - 1; last >= 0 && t.kept[last].text == text {
		t.kept[last].at = e.Time
		t.kept[last].times++
		return
	}
	if len(t.kept) == troublesKept {
		t.kept = append(t.kept[:0], t.kept[1:]...)
	}
	t.kept = append(t.kept, trouble{e.Time, e.Level.String(), text, 1})
}

// last returns them for the status.
func (t *troubles) last(now time.Time) []status.Error {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]status.Error, len(t.kept))
	for i, k := range t.kept {
		all[i] = status.Error{Time: status.At(k.at, now), Level: k.level, Text: k.text, Times: k.times}
	}
	return all
}
