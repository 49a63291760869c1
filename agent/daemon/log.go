package daemon

import (
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"nmosauthd/agent"
	"nmosauthd/agent/keys"
)

// logTime is the log's format of a time, in UTC.
const logTime = "2006-01-02T15:04:05.000Z"

// newLogger logs JSON lines to out, without sampling. Its level can be changed while it runs.
func newLogger(out zapcore.WriteSyncer) (*zap.Logger, *atomic.Int32) {
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", MessageKey: "message",
		EncodeTime: func(t time.Time, e zapcore.PrimitiveArrayEncoder) {
			e.AppendString(t.UTC().Format(logTime))
		},
		EncodeLevel:    zapcore.LowercaseLevelEncoder,
		EncodeDuration: zapcore.StringDurationEncoder,
	})
	level := new(atomic.Int32) // a zapcore.Level; zap.AtomicLevel brings an HTTP handler and JSON with it, 40 kB
	enabled := zap.LevelEnablerFunc(func(l zapcore.Level) bool { return l >= zapcore.Level(level.Load()) })
	return zap.New(zapcore.NewCore(encoder, out, enabled)), level
}

// takeStdLog redirects the standard logger to log, at debug level: net/http quotes there what a server sends unasked,
// which would else be unbounded and could block on standard error.
func takeStdLog(log *zap.Logger) (restore func(), err error) {
	return zap.RedirectStdLogAt(log, zapcore.DebugLevel)
}

// warn logs an error as a warning, if there is one, with pairs of a key and a text.
func warn(log *zap.Logger, text string, err error, about ...string) {
	if err != nil {
		log.Warn(text, fields(err, about...)...)
	}
}

// fields are those of a line of the log: pairs of a key and a text, but for empty texts, and an error if there is one.
func fields(err error, about ...string) (all []zap.Field) {
	for i := 0; i < len(about); i += 2 {
		if about[i+1] != "" {
			all = append(all, zap.String(about[i], about[i+1]))
		}
	}
	if err != nil {
		all = append(all, zap.Error(err))
	}
	return all
}

// again adds to the fields of a line in how long the daemon tries again; nothing if it does not.
func again(in time.Duration, about []zap.Field) []zap.Field {
	if in > 0 {
		about = append(about, zap.Duration("again", in))
	}
	return about
}

// eventText is what the log says of a kind of event.
type eventText struct {
	level zapcore.Level
	text  string
}

// logKeys reports one attempt to fetch an issuer's keys.
func logKeys(log *zap.Logger, e keys.Event) {
	level := zapcore.DebugLevel // unchanged keys: all this was logged before
	if e.Changed || e.Err != nil {
		level = zapcore.WarnLevel
	}
	for _, err := range e.Left {
		at := level
		if errors.Is(err, keys.ErrUnneeded) && e.Err == nil {
			at = zapcore.DebugLevel // every realm has such keys
		}
		log.Log(at, "a key of the set is not used", fields(err, "issuer", e.Issuer)...)
	}
	var named *agent.NamedError
	text := "keys fetched"
	switch {
	case errors.As(e.Err, &named) && e.Keys == 0:
		level, text = zapcore.DebugLevel, "keys not fetched" // the server's real issuer was logged
	case e.Err != nil && e.Keys == 0:
		text = "keys not fetched; none are held yet"
	case e.Err != nil:
		text = "keys not fetched; those held stay valid"
	case e.Changed:
		level, text = zapcore.InfoLevel, "keys fetched and changed"
	}
	log.Log(level, text, append(fields(e.Err, "issuer", e.Issuer),
		zap.Int("keys", e.Keys), zap.Duration("next", e.Next.Round(time.Millisecond)))...)
}

// logServer logs what happened to a server that discovery found.
func (d *daemon) logServer(e agent.ServerEvent) {
	if e.Found != nil || e.Server == "" {
		d.log.Info(e.What, zap.Strings("servers", e.Found))
		return
	}
	d.log.Info(e.What, fields(nil, "server", e.Server, "issuer", e.Issuer, "why", e.Why)...)
}
