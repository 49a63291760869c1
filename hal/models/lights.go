package models

import (
	"fmt"
	"os"
	"strings"

	"nmosauthd/hal"
)

// lights is an indicator of LEDs of the kernel, those under /sys/class/leds.
type lights struct {
	leds  []led
	looks looks
	shown hal.State
}

// looks says for each state what each LED shows: a word for the first, a word for the second. A word is on, off, or the
// name of a trigger of the kernel, which is then the one to blink: timer (even), heartbeat.
type looks [hal.Stopping + 1]string

// led holds the two files open, since nothing can be opened once the daemon has shut itself in.
type led struct{ trigger, brightness *os.File }

// openLights opens the LEDs of these names, all of which must be there.
func openLights(root string, looks looks, names ...string) (hal.Indicator, error) {
	l := &lights{looks: looks, shown: -1}
	for _, name := range names {
		var files [2]*os.File
		for i, file := range []string{"trigger", "brightness"} {
			f, err := open(root, "sys/class/leds/"+name+"/"+file, os.O_WRONLY|os.O_TRUNC)
			if err != nil {
				l.leds = append(l.leds, led{files[0], nil})
				l.Close()
				return nil, fmt.Errorf("hal: %w", err)
			}
			files[i] = f
		}
		l.leds = append(l.leds, led{files[0], files[1]})
	}
	return l, nil
}

// Show writes nothing if the state is unchanged, so that the blinking does not restart.
func (l *lights) Show(s hal.State) {
	if s == l.shown || s < 0 || int(s) >= len(l.looks) {
		return
	}
	l.shown = s
	for i, look := range strings.Fields(l.looks[s]) {
		l.leds[i].show(look)
	}
}

// show makes the LED dark first, which also ends its trigger. If the rest fails, say for want of the trigger in the
// kernel, it stays dark and does not go on to show what is no longer so.
func (l led) show(look string) {
	l.brightness.WriteString("0\n")
	switch look {
	case "off":
	case "on":
		l.brightness.WriteString("255\n") // the kernel makes it the most that the LED has
	default:
		l.trigger.WriteString(look + "\n")
	}
}

func (l *lights) Close() {
	for _, led := range l.leds {
		led.trigger.Close() // one that was not opened is nil, and closes as well
		led.brightness.Close()
	}
}
