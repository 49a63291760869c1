// Package zlog puts entries into a core of zap (zapcore), which does the rest: levels, encoding, output. What package zap itself
// puts before a core is wanted nowhere here (callers, stack traces, sampling, sinks by URL, a level set over HTTP) and would cost
// 53 kB of flash.
package zlog

import (
	"time"

	"go.uber.org/zap/zapcore"
)

// Field is a name and a value beside the message. There is none whose value is encoded by reflection: that would be done by
// encoding/json, which the daemon is built without (scripts/overlay.sh).
type Field = zapcore.Field

// Logger writes to a core.
type Logger struct{ Core zapcore.Core }

// Log writes a line, where the core takes its level.
func (l Logger) Log(at zapcore.Level, message string, fields ...Field) {
	if entry := l.Core.Check(zapcore.Entry{Level: at, Time: time.Now(), Message: message}, nil); entry != nil {
		entry.Write(fields...)
	}
}

// Debug, Info, Warn and Error write a line of their level.
func (l Logger) Debug(message string, fields ...Field) { l.Log(zapcore.DebugLevel, message, fields...) }
func (l Logger) Info(message string, fields ...Field)  { l.Log(zapcore.InfoLevel, message, fields...) }
func (l Logger) Warn(message string, fields ...Field)  { l.Log(zapcore.WarnLevel, message, fields...) }
func (l Logger) Error(message string, fields ...Field) { l.Log(zapcore.ErrorLevel, message, fields...) }

func String(key, value string) Field {
	return Field{Key: key, Type: zapcore.StringType, String: value}
}

func Strings(key string, values []string) Field {
	return Field{Key: key, Type: zapcore.ArrayMarshalerType, Interface: array(values)}
}

type array []string

// MarshalLogArray implements zapcore.ArrayMarshaler.
func (a array) MarshalLogArray(to zapcore.ArrayEncoder) error {
	for _, s := range a {
		to.AppendString(s)
	}
	return nil
}

func Int(key string, value int) Field {
	return Field{Key: key, Type: zapcore.Int64Type, Integer: int64(value)}
}

func Uint64(key string, value uint64) Field {
	return Field{Key: key, Type: zapcore.Uint64Type, Integer: int64(value)}
}

func Duration(key string, value time.Duration) Field {
	return Field{Key: key, Type: zapcore.DurationType, Integer: int64(value)}
}

// Error and NamedError are left out where there is no error.
func Error(err error) Field { return NamedError("error", err) }

func NamedError(key string, err error) Field {
	if err == nil {
		return Field{Type: zapcore.SkipType}
	}
	return Field{Key: key, Type: zapcore.ErrorType, Interface: err}
}
