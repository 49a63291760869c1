package main

import (
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"nmosauthd/agent/keys"
)

// newLogger logs JSON lines to standard error, whose reader (the journal, procd, a file) keeps them. No line is sampled away.
func newLogger() (*zap.Logger, zap.AtomicLevel) {
	level := zap.NewAtomicLevel()
	c := zap.Config{
		Level:            level,
		Encoding:         "json",
		OutputPaths:      []string{"stderr"},
		ErrorOutputPaths: []string{"stderr"},
		EncoderConfig: zapcore.EncoderConfig{
			TimeKey: "time", LevelKey: "level", MessageKey: "message",
			EncodeTime: func(t time.Time, e zapcore.PrimitiveArrayEncoder) {
				e.AppendString(t.UTC().Format("2006-01-02T15:04:05.000Z"))
			},
			EncodeLevel:    zapcore.LowercaseLevelEncoder,
			EncodeDuration: zapcore.StringDurationEncoder,
		},
		DisableCaller:     true,
		DisableStacktrace: true,
	}
	logger, err := c.Build()
	if err != nil {
		panic(err) // stderr and json are always there
	}
	return logger, level
}

// logKeys reports one attempt to fetch an issuer's keys.
func logKeys(log *zap.Logger, e keys.Event) {
	fields := []zap.Field{
		zap.String("issuer", e.Issuer), zap.Int("keys", e.Keys), zap.Duration("next", e.Next.Round(time.Millisecond)),
	}
	for _, err := range e.Left {
		log.Warn("a key of the set is not used", zap.String("issuer", e.Issuer), zap.Error(err))
	}
	switch {
	case e.Err != nil:
		log.Warn("keys not fetched; those held stay valid", append(fields, zap.Error(e.Err))...)
	case e.Changed:
		log.Info("keys fetched and changed", fields...)
	default:
		log.Debug("keys fetched", fields...)
	}
}
