package main

import (
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap/zapcore"

	"nmosauthd/agent/cmd/nmos-authd/zlog"
	"nmosauthd/agent/keys"
)

// level is the least level that is logged. Zap's own AtomicLevel is also an HTTP handler, which would bring in what a handler
// needs, 0.1 MB of flash.
type level struct{ atomic.Int32 }

// Enabled implements zapcore.LevelEnabler.
func (l *level) Enabled(at zapcore.Level) bool { return at >= zapcore.Level(l.Load()) }

// newLogger logs JSON lines to standard error, whose reader (the journal, procd, a file) keeps them. No line is sampled away.
func newLogger() (zlog.Logger, *level) {
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", MessageKey: "message",
		EncodeTime: func(t time.Time, e zapcore.PrimitiveArrayEncoder) {
			e.AppendString(t.UTC().Format("2006-01-02T15:04:05.000Z"))
		},
		EncodeLevel:    zapcore.LowercaseLevelEncoder,
		EncodeDuration: zapcore.StringDurationEncoder,
	})
	l := new(level)
	return zlog.Logger{Core: zapcore.NewCore(encoder, zapcore.Lock(os.Stderr), l)}, l
}

// logKeys reports one attempt to fetch an issuer's keys.
func logKeys(log zlog.Logger, e keys.Event) {
	fields := []zlog.Field{
		zlog.String("issuer", e.Issuer), zlog.Int("keys", e.Keys), zlog.Duration("next", e.Next.Round(time.Millisecond)),
	}
	level := zapcore.DebugLevel // of what was said before
	if e.Changed || e.Err != nil {
		level = zapcore.WarnLevel
	}
	for _, err := range e.Left {
		log.Log(level, "a key of the set is not used", zlog.String("issuer", e.Issuer), zlog.Error(err))
	}
	switch {
	case e.Err != nil:
		log.Warn("keys not fetched; those held stay valid", append(fields, zlog.Error(e.Err))...)
	case e.Changed:
		log.Info("keys fetched and changed", fields...)
	default:
		log.Debug("keys fetched", fields...)
	}
}
